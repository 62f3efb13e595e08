"""Reading training data: banks, public layouts, caches."""
