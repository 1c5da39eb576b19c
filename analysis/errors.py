"""Errors of queries against the record."""

from trainables.errors import AdaptertuneError


class QueryError(AdaptertuneError):
    """A query that the record cannot answer: an unknown metric, an invalid `--where`."""


class NothingToRankError(AdaptertuneError):
    """No trial has a value yet, or no trial passes the filter."""
