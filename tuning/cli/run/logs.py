"""The command `logs`."""

from __future__ import annotations

from tuning.cli.options import NameOrTrial, Storage
from tuning.messages import print_answer


def run_logs(name: NameOrTrial, storage: Storage = None) -> None:
    """Print the log of a trial, with tracebacks; without a trial, the log of the driver."""
    from analysis.ranking.rank_by_sql import best_number
    from tuning.ledger.storage import BEST, Reference, parse_log_reference, read_log, storage_folder

    reference = parse_log_reference(name, storage_folder(storage))
    if reference.trial == BEST:
        reference = Reference(reference.folder, best_number(reference.folder, reference.metric))
    print_answer(read_log(reference), nl=False)
