"""Which trial stops early."""
