"""Malformed experiment files, each made from a valid one, and the message that the user sees."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainables.errors import ExperimentFileError
from tuning.experiment.load import load_experiment
from tuning.experiment.spec import Experiment

VALID = {
    "name": "name: pets",
    "task": "task: segmentation",
    "objective": "objective: {metric: dice}",
    "trial": "trial: {epochs: 6}",
    "space": "space:\n  adapter: {choice: [lora, adalora]}\n  lora.rank: {choice: [4, 8]}",
    "search": "search: {trials: 8}",
    "scheduler": "scheduler: {asha: {grace_epochs: 1}}",
}
"""The parts of a valid file, in its order; a case replaces some of them."""
LATER = "  combinations of settings are checked once these errors are fixed"


@dataclass(frozen=True)
class Case:
    text: str
    overrides: tuple[str, ...]
    expected: tuple[str, ...]

    @property
    def message(self) -> list[str]:
        """The lines of the whole message, without `LATER`."""
        count = f"{len(self.expected)} error{'s' if len(self.expected) > 1 else ''}"
        return [f"pets.yaml: {count}", *(f"  {line}" for line in self.expected)]


def case(*expected: str, overrides: tuple[str, ...] = (), without: str = "", **parts: str) -> Case:
    lines = [text for part, text in (VALID | parts).items() if part != without]
    return Case("\n".join(lines) + "\n", tuple(overrides), expected)


def label(given: Case) -> str:
    """The name of a test of this case."""
    return given.expected[0].split("  ", 1)[1][:60]


def loaded(folder: Path, text: str, overrides: tuple[str, ...] = ()) -> Experiment:
    """Write `pets.yaml` in `folder`, and read the experiment from it."""
    with contextlib.chdir(folder):
        Path("pets.yaml").write_text(text)
        return load_experiment("pets.yaml", list(overrides))


def message_of(folder: Path, text: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ExperimentFileError) as caught:
        loaded(folder, text, overrides)
    return str(caught.value)


def lines_of(folder: Path, given: Case) -> list[str]:
    """The message for the file of a case, to compare with `Case.message`."""
    return [line for line in message_of(folder, given.text, given.overrides).splitlines() if line != LATER]
