"""The trials that a view has completely, so that a resumed driver does not write them again."""

from __future__ import annotations

from pathlib import Path

from tuning.ledger.history import TrialHistory

FILE = "whole.txt"


class Written:
    """`whole.txt` in the view's folder: a line for each finished trial, with its number of reports and the
    time of its end, because a trial may fail and start again. In folders of before, the time is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        text = self._path.read_text() if self._path.is_file() else ""
        lines = [line.split() for line in text.split("\n")[:-1]]
        self._marks = {int(words[0]): words[1:] for words in lines if _valid(words)}
        if not text.endswith("\n") and text:  # torn: the next line must not be joined to it
            self._path.write_text("".join(f"{number} {' '.join(m)}\n" for number, m in self._marks.items()))

    def has(self, trial: TrialHistory) -> bool:
        """Whether the view has all reports of a trial, and its end."""
        mark = self._marks.get(trial.number)
        if mark is None or trial.ended is None:
            return False
        return mark == _mark(len(trial.reports), trial.ended.time)[: len(mark)]

    def add(self, number: int, reports: int, ended: float) -> None:
        """Add a finished trial that the view has completely. ended: seconds since 1970. Raises OSError."""
        self._marks[number] = mark = _mark(reports, ended)
        with self._path.open("a") as file:
            file.write(f"{number} {' '.join(mark)}\n")


def _mark(reports: int, ended: float) -> list[str]:
    return [str(reports), repr(ended)]


def _valid(words: list[str]) -> bool:
    return len(words) in (2, 3) and words[0].isdigit() and words[1].isdigit()
