"""Puts nothing on the path: `pythonpath` in pyproject.toml names `tests/support`, which tests share."""
