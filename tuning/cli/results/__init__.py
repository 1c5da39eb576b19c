"""Commands that read the results of experiments."""
