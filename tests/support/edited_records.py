"""Changes to records on disk: without the checksums of lines, or with right ones after a change."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tuning.ledger.checksum import with_checksum
from tuning.ledger.ledger import LEDGER


def without_checksums(folder: Path) -> Path:
    """Take the checksums off an experiment's record, as one of before has it."""
    path = folder / LEDGER
    path.write_bytes(_plain(path.read_bytes()))
    return folder


def edit_record(folder: Path, edit: Callable[[str], str]) -> Path:
    """Change the text of a record, as if it had been written so. edit: gets it without checksums."""
    path = folder / LEDGER
    text = edit(_plain(path.read_bytes()).decode())
    path.write_bytes(b"".join(with_checksum(line.encode()) for line in text.splitlines()))
    return folder


def _plain(content: bytes) -> bytes:
    return re.sub(rb',"crc":"[0-9a-f]{8}"\}\n', b"}\n", content)
