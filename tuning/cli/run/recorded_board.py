"""The board of an experiment as its ledger has it now."""

from __future__ import annotations

from pathlib import Path

from tuning.cli.board import Board
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import driver_alive, read_header, read_records


def read_board(folder: Path) -> Board:
    """The board of the experiment in `folder`."""
    alive = driver_alive(folder)
    board = Board(experiment_of(read_header(folder)), alive=alive)
    for record in read_records(folder):
        board.observe(record)
    return board
