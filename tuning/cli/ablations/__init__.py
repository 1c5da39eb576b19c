"""Commands for ablations and comparisons."""
