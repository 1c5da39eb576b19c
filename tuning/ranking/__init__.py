"""Which trial is best."""
