"""Which of two trials with equal values is counted as the better one."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def mixed(number: int, seed: int = 0) -> int:
    """A hash of a trial's number, evenly spread over 64 bits (SplitMix64, Steele et al. 2014).

    It favours neither early nor late trials, and is the same in every process and on every machine.
    """
    word = (number + 1 + seed * 0x632BE59BD9B4E019) * 0x9E3779B97F4A7C15 & _MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return word ^ word >> 31
