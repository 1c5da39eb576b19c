"""The checksum at the end of each line of the record: its last key, `"crc"`.

It is the CRC-32 of the line before that key, as eight hexadecimal digits, so a line stays a JSON object. It
finds every single flipped bit, and every burst of up to 32. Lines of records of before have none.
"""

from __future__ import annotations

import zlib
from enum import Enum, auto

_KEY = b',"crc":"'
_DIGITS = 8
_END = b'"}\n'
_LENGTH = len(_KEY) + _DIGITS + len(_END)


class Checksum(Enum):
    """What the end of a line says of it."""

    ABSENT = auto()
    RIGHT = auto()
    WRONG = auto()


def with_checksum(text: bytes) -> bytes:
    """A line of the record. text: a JSON object with at least one key, without a line break."""
    body = text[:-1]
    return b"%s%s%08x%s" % (body, _KEY, zlib.crc32(body), _END)


def checksum_of(line: bytes) -> Checksum:
    """Whether a line has a checksum, and whether it is right. line: with its line break."""
    if line[-_LENGTH : _DIGITS - _LENGTH] != _KEY or line[-len(_END) :] != _END:
        return Checksum.ABSENT
    known = b"%08x" % zlib.crc32(memoryview(line)[:-_LENGTH])
    return Checksum.RIGHT if line[-_DIGITS - len(_END) : -len(_END)] == known else Checksum.WRONG


def said_checksum(line: bytes) -> int | None:
    """The checksum that a line says, right or wrong; None if it has none. line: with its line break."""
    try:
        return int(line[-_DIGITS - len(_END) : -len(_END)], 16) if ends_with_checksum(line) else None
    except ValueError:
        return None


def ends_with_checksum(before: bytes) -> bool:
    """Whether bytes of the record, up to the end of a line, end with a checksum, right or wrong."""
    return before[-_LENGTH : _DIGITS - _LENGTH] == _KEY and before.endswith(_END)


CHECKSUM_BYTES = _LENGTH
"""How many bytes of a line its checksum takes, with the line break."""
