"""Commands for experiment files."""
