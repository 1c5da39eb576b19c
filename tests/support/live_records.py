"""Lines that a running sweep adds to its record."""

from __future__ import annotations

from pathlib import Path

from tuning.ledger.checksum import with_checksum
from tuning.ledger.ledger import LEDGER
from tuning.ledger.records import Record, ReportRecord


def append(folder: Path, *records: Record) -> None:
    with (folder / LEDGER).open("ab") as file:
        for record in records:
            file.write(with_checksum(record.model_dump_json(by_alias=True).encode()))


def report(trial: int, epoch: float, value: float) -> ReportRecord:
    return ReportRecord(
        trial=trial, epoch=epoch, step=10, objective=value, metrics={"dice": value}, samples=160
    )
