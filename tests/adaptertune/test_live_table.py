"""The table of a sweep in a notebook, with a display that is recorded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from recorded import LORA, Told, experiment, write

from adaptertune import live_table
from adaptertune.live_table import NotebookTable, Snapshot, notebook_display, table_of
from tuning.cli.board import Board
from tuning.cli.progress import Progress
from tuning.ledger.ledger import read_records
from tuning.ledger.outcomes import Outcome


class Cell:
    """A notebook's cell: the displayed value, and the values that replaced it."""

    def __init__(self) -> None:
        self.shown: list[object] = []

    def __call__(self, what: object) -> Cell:
        self.shown.append(what)
        return self

    def update(self, what: object) -> None:
        self.shown.append(what)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    trials = (
        Told(LORA | {"learning_rate": 0.005, "lora.rank": 8}, (0.3, 0.5)),
        Told(LORA | {"learning_rate": 0.002, "lora.rank": 4}, (0.4,), Outcome.PRUNED),
    )
    return write(tmp_path / "a<b", trials, of=experiment("a<b", trials=2))


def test_one_output_is_updated_in_place_to_the_end(record: Path) -> None:
    cell = Cell()
    with NotebookTable(Board(experiment("a<b", trials=2)), cell, clock=lambda: 1100.0) as table:
        for entry in read_records(record):
            table(entry)
    first, last = cell.shown[0], cell.shown[-1]
    assert isinstance(first, Snapshot)
    assert isinstance(last, Snapshot)
    assert "2 waiting" in repr(first)
    assert "1 completed  1 pruned" in repr(last)
    assert "finished" in repr(last)
    assert "a&lt;b" in last._repr_html_()
    assert "a<b" not in last._repr_html_()


def test_it_is_updated_between_records_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_table, "REFRESH_S", 0.001)
    cell = Cell()
    with NotebookTable(Board(experiment()), cell):
        while len(cell.shown) < 4:
            pass


def test_a_display_that_fails_does_not_end_the_sweep(record: Path) -> None:
    class Broken(Cell):
        def update(self, what: object) -> None:
            raise OSError("the kernel is gone")

    with NotebookTable(Board(experiment("a<b")), Broken()) as table:
        for entry in read_records(record):
            table(entry)

    def none(what: object) -> Cell:
        raise OSError("no kernel")

    with NotebookTable(Board(experiment("a<b")), none) as table:
        table(next(read_records(record)))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """IPython as it is in a kernel."""
    shown: list[object] = []

    def display(what: object, display_id: bool) -> Cell:
        shown.append(what)
        return Cell()

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))  # type: ignore[arg-type]
    return shown


def test_a_notebook_gets_a_table_unless_lines_are_asked_for(notebook: list[object]) -> None:
    assert isinstance(table_of(Board(experiment()), live=True), NotebookTable)
    assert isinstance(table_of(Board(experiment()), live=False), Progress)
    display = notebook_display()
    assert display is not None
    display("x")
    assert notebook == ["x"]


def test_without_a_kernel_there_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook_display() is None
    for shell in (None, SimpleNamespace()):  # plain Python, a terminal
        module = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", module)  # type: ignore[arg-type]
        assert notebook_display() is None
    assert isinstance(table_of(Board(experiment()), live=True), Progress)
