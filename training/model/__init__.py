"""Networks, how they grow, and losses; knows neither files nor real CTs."""
