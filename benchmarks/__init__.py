"""Measurements of this system beside its peers; run by hand, never by the test suite."""
