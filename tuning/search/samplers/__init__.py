"""The samplers: one module for each way to choose configurations, and the registry of all of them."""
