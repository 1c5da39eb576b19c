"""Reads the record: which configuration is best, and what the settings did."""
