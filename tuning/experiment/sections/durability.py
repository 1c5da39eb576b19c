"""When a line of the ledger, or a checkpoint, counts as written."""

from __future__ import annotations

from enum import StrEnum


class Durability(StrEnum):
    """OS: once the operating system has it: it survives the end of any process.

    DISK: once the disk has it: it survives a power failure as well.
    """

    OS = "os"
    DISK = "disk"
