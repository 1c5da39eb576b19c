"""Undoes a single flipped bit in a line of the record, by its checksum.

A CRC-32 tells which one bit was flipped, in lines of up to 500 MB. A line with other damage looks like one
with a single flipped bit by chance in one of 2^32 ÷ (bits of the line) cases: one in 100,000 for 5 kB.
"""

from __future__ import annotations

import zlib

from tuning.ledger.checksum import CHECKSUM_BYTES, Checksum, checksum_of, said_checksum, with_checksum


def mended(line: bytes) -> bytes | None:
    """The line as it was written, if a single bit of it was flipped; else None. line: with its line break."""
    if len(line) <= CHECKSUM_BYTES:
        return None
    body = line[:-CHECKSUM_BYTES]
    whole = with_checksum(body + b"}")
    if _bits_that_differ(whole, line) == 1:  # in the checksum itself
        return whole
    if checksum_of(line) is not Checksum.WRONG or (known := said_checksum(line)) is None:
        return None
    place = _flipped_bit(len(body), zlib.crc32(body) ^ known)
    if place is None:
        return None
    byte, bit = place
    found = bytearray(line)
    found[byte] ^= 1 << bit
    return bytes(found)


def _bits_that_differ(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def _flipped_bit(length: int, difference: int) -> tuple[int, int] | None:
    """The byte, and the bit in it, whose flip changes the checksum of `length` bytes by `difference`.

    A flip changes a CRC by a number that depends only on its distance to the end.
    """
    table = [zlib.crc32(bytes([value])) ^ zlib.crc32(b"\0") for value in range(256)]
    changes = [table[1 << bit] for bit in range(8)]
    for byte in range(length - 1, -1, -1):
        for bit, change in enumerate(changes):
            if change == difference:
                return byte, bit
        changes = [table[change & 0xFF] ^ (change >> 8) for change in changes]
    return None
