"""Collects what libraries print, warn and log, so that it can be shown once and after what matters."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

_LOGGERS = ("", "transformers", "peft", "torch", "datasets", "huggingface_hub")


@contextmanager
def collected_messages() -> Iterator[list[str]]:
    """Collect the messages inside the `with` block; each text once, on one line, in the order of appearance.

    The list is filled at the end of the block, also after an error. Log records below WARNING are dropped.
    Not for code that runs in several threads: warning filters and standard streams are those of the process.
    """
    found: list[str] = []
    printed, handler = io.StringIO(), _Collecting()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            redirect_stdout(printed),
            redirect_stderr(printed),
        ):
            warnings.simplefilter("always")
            yield found
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        texts = [*(str(each.message) for each in warned), *handler.texts, *printed.getvalue().splitlines()]
        lines = (" ".join(text.split()) for text in texts)
        found.extend(dict.fromkeys(line for line in lines if line))


class _Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
