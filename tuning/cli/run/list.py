"""The command `list`."""

from __future__ import annotations

import time

from trainables.errors import AdaptertuneError
from tuning.cli.options import Storage
from tuning.messages import print_answer


def run_list(storage: Storage = None) -> None:
    """List the experiments under --storage."""
    from tuning.cli.run.recorded_board import read_board
    from tuning.ledger.driver_state import driver_states
    from tuning.ledger.storage import list_experiments, storage_folder

    place = storage_folder(storage)
    folders = list_experiments(place)
    if not folders:
        print_answer(f"no experiments in {place}; start one with `adaptertune launch quickstart`")
    states = driver_states(folders)
    for folder in folders:
        try:
            board = read_board(folder, states[folder])
        except AdaptertuneError as error:
            print_answer(f"{folder.name:28s} unreadable   {error}")
            continue
        print_answer(f"{folder.name:28s} {board.state:12s} {board.summary(time.time())}")
