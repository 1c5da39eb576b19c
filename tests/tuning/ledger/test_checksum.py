from __future__ import annotations

import json
import zlib

import pytest

from tuning.ledger.checksum import Checksum, checksum_of, said_checksum, with_checksum
from tuning.ledger.mending import mended

LINE = with_checksum(b'{"time":1.0,"kind":"started","trial":0,"params":{"adapter":"lora"},"hash":"h"}')


def flipped(line: bytes, bit: int) -> bytes:
    found = bytearray(line)
    found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def test_a_line_stays_json_with_its_checksum_as_the_last_key() -> None:
    held = json.loads(LINE)
    assert [*held][-1] == "crc"
    before = LINE[: LINE.index(b',"crc"')]
    assert held["crc"] == f"{zlib.crc32(before):08x}"
    assert (checksum_of(LINE), said_checksum(LINE)) == (Checksum.RIGHT, int(held["crc"], 16))


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"{}\n", b'{"a":1}\n', LINE[:-1], LINE.replace(b'"crc"', b'"csc"'), LINE[:-2] + b"\n"],
)
def test_a_line_without_a_checksum_has_none(line: bytes) -> None:
    assert checksum_of(line) is Checksum.ABSENT
    assert said_checksum(line) is None


def test_no_flipped_bit_is_taken_for_the_line_and_each_is_undone() -> None:
    for bit in range(8 * len(LINE)):
        damaged = flipped(LINE, bit)
        assert checksum_of(damaged) is not Checksum.RIGHT
        assert mended(damaged) == LINE


def test_more_damage_than_a_bit_is_not_undone() -> None:
    assert mended(LINE) is None  # nothing is flipped
    assert mended(flipped(flipped(LINE, 100), 203)) is None
    assert mended(b'{"a":1}\n') is None
    assert mended(LINE[20:]) is None
