"""Single flipped bits anywhere in a record: none is believed, and the line is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from marks import slow
from recorded import write

from trainables.errors import LedgerError
from tuning.ledger.ledger import LEDGER, read_history, read_records
from tuning.ledger.repair import repaired


@pytest.mark.parametrize("flips", [300, slow(5000)])
def test_no_flipped_bit_is_believed(tmp_path: Path, flips: int) -> None:
    folder = write(tmp_path / "digits")
    whole = (folder / LEDGER).read_bytes()
    before = list(read_records(folder))
    rng, refused, unchanged, restored = random.Random(flips), 0, 0, 0
    for _ in range(flips):
        byte, bit = rng.randrange(len(whole)), rng.randrange(8)
        damaged = bytearray(whole)
        damaged[byte] ^= 1 << bit
        (folder / LEDGER).write_bytes(damaged)
        number = whole.count(b"\n", 0, byte) + 1
        try:
            found = list(read_records(folder))
            read_history(folder, found)
        except LedgerError as error:
            assert f"{folder / LEDGER}, line {number} is damaged" in str(error)  # noqa: PT017
            assert number == 1 or f"adaptertune repair {folder}" in str(error)  # noqa: PT017
            refused += 1
        else:
            assert found == before, f"bit {bit} of byte {byte} was believed"
            unchanged += 1
        restored += b"".join(repaired(bytes(damaged)).lines) == whole
    print(f"\n{flips} flips: {refused} refused, {unchanged} changed nothing, 0 believed, {restored} restored")
    assert (refused + unchanged, restored) == (flips, flips)
    assert refused > 0.9 * flips
