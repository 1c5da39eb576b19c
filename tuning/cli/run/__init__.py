"""Commands that run experiments, and show or stop those that run."""
