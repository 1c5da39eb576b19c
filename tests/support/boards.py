"""Boards of recorded experiments."""

from __future__ import annotations

import io
from pathlib import Path

from recorded import experiment
from rich.console import Console

from tuning.cli.board import Board
from tuning.ledger.ledger import read_records


def board_of(folder: Path, **how: object) -> Board:
    asked = how.pop("of", None) or experiment(folder.name)
    board = Board(asked, **how)  # type: ignore[arg-type]
    for record in read_records(folder):
        board.observe(record)
    return board


def text_of(board: Board, now: float) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(board.view(now))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]
