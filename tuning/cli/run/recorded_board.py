"""The board of an experiment as its ledger has it now."""

from __future__ import annotations

from pathlib import Path

from tuning.cli.board import Board
from tuning.ledger.driver_state import DriverState, driver_state
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import read_header, read_records


def read_board(folder: Path, driver: DriverState | None = None) -> Board:
    """The board of the experiment in `folder`. driver: its state, if it is known."""
    seen = driver_state(folder) if driver is None else driver
    board = Board(experiment_of(read_header(folder)), alive=seen.may_run, unknown=seen is DriverState.UNKNOWN)
    for record in read_records(folder):
        board.observe(record)
    return board
