"""The trials that a view has completely, so that a resumed driver does not write them again."""

from __future__ import annotations

from pathlib import Path

from tuning.ledger.history import TrialHistory

FILE = "whole.txt"


class Written:
    """`whole.txt` in the view's folder: a line for each finished trial, with its number of reports."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        text = self._path.read_text() if self._path.is_file() else ""
        pairs = [line.split() for line in text.split("\n")[:-1]]
        self._reports = {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2 and _numbers(pair)}
        if not text.endswith("\n") and text:  # torn: the next line must not be joined to it
            self._path.write_text("".join(f"{number} {n}\n" for number, n in self._reports.items()))

    def has(self, trial: TrialHistory) -> bool:
        """Whether the view has all reports of a trial."""
        return self._reports.get(trial.number) == len(trial.reports)

    def add(self, number: int, reports: int) -> None:
        """Add a finished trial that the view has completely. Raises OSError."""
        self._reports[number] = reports
        with self._path.open("a") as file:
            file.write(f"{number} {reports}\n")


def _numbers(pair: list[str]) -> bool:
    return all(item.isdigit() for item in pair)
