"""What can be wrong with a question."""

from trainables.errors import AdaptertuneError


class QueryError(AdaptertuneError):
    """A question that the record cannot answer: an unknown figure, a wrong `--where`."""


class NothingToRankError(AdaptertuneError):
    """No trial has a value yet, or none passes the filter."""
