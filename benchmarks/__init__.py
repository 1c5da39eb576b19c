"""Benchmarks of this system and of comparable programs; run by hand, never by the test suite."""
