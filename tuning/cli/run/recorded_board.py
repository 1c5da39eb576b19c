"""The board of an experiment as its ledger has it now."""

from __future__ import annotations

from pathlib import Path

from analysis.query.sweep import Sweep
from tuning.cli.board import Board
from tuning.ledger.ledger import driver_alive, read_history, read_records


def read_board(folder: Path) -> tuple[Sweep, Board]:
    """The experiment in `folder`, and its board."""
    alive = driver_alive(folder)
    records = tuple(read_records(folder))
    sweep = Sweep.of(read_history(folder, records))
    board = Board(sweep.experiment, alive=alive)
    for record in records:
        board.observe(record)
    return sweep, board
