"""Fixtures are in the folders below; `pythonpath` in pyproject.toml adds `tests/support` to the path."""
