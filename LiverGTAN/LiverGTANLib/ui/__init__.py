"""The panel and what runs behind it; the only place that knows Qt."""
