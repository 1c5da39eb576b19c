from __future__ import annotations

import logging
import sys
import warnings

import pytest

from trainables.library_messages import collected_messages


def speak() -> None:
    for _ in range(3):
        warnings.warn("a rank of 1\n  is small", UserWarning, stacklevel=1)
        logging.getLogger("peft.tuners").warning("%s is not merged", "this")
        logging.getLogger("transformers").info("loading")
        print("printed")
        print("complained", file=sys.stderr)


def test_what_libraries_say_is_collected_once_and_not_shown(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with collected_messages() as found:
        speak()
    assert found == ["a rank of 1 is small", "this is not merged", "printed", "complained"]
    assert "".join(capfd.readouterr()) == ""
    logging.getLogger("peft.tuners").warning("afterwards")
    assert [record.getMessage() for record in caplog.records] == ["afterwards"]


def test_messages_before_an_error_are_kept_and_all_is_as_it_was() -> None:
    loggers = [logging.getLogger(name) for name in ("", "transformers", "peft")]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    filters, streams = warnings.filters[:], (sys.stdout, sys.stderr)
    found: list[str] = []

    def fail() -> None:
        nonlocal found
        with collected_messages() as found:
            speak()
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert "printed" in found
    assert [(logger.handlers[:], logger.propagate) for logger in loggers] == before
    assert warnings.filters[:] == filters
    assert (sys.stdout, sys.stderr) == streams
