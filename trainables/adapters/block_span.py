"""Transformer blocks by their numbers, counted from the first block (0) or from the last (-1)."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.wording import plural


def resolve_span(span: tuple[int, int], count: int) -> tuple[int, int]:
    """First and last block of `span`, counted from 0, in a model with `count` blocks. See `span_fault`."""
    first, last = (number + count if number < 0 else number for number in span)
    return first, last


def span_fault(span: tuple[int, int], count: int) -> str | None:
    """Why a model with `count` blocks has no blocks `span`; None if it has them."""
    first, last = resolve_span(span, count)
    if not (0 <= first < count and 0 <= last < count):
        return (
            f"blocks {list(span)}: the model has {plural(count, 'block')}; use numbers from 0 to {count - 1},"
            f" or from -{count} to -1, counted from the last block"
        )
    if first > last:
        return (
            f"blocks {list(span)}: the model has {plural(count, 'block')}, so this runs from block {first} to"
            f" block {last}; the first must not come after the last"
        )
    return None


def resolve_blocks(blocks: Sequence[int], count: int) -> tuple[int, ...]:
    """Blocks in ascending order, counted from 0, in a model with `count` blocks. See `blocks_fault`."""
    return tuple(sorted(number + count if number < 0 else number for number in blocks))


def blocks_fault(key: str, blocks: Sequence[int], count: int) -> str | None:
    """Why a model with `count` blocks does not have each of `blocks` once; None if it does."""
    found = resolve_blocks(blocks, count)
    if not (found[0] >= 0 and found[-1] < count):
        return (
            f"{key} {list(blocks)}: the model has {plural(count, 'block')}; use numbers from 0 to"
            f" {count - 1}, or from -{count} to -1, counted from the last block"
        )
    if len(set(found)) < len(found):
        return f"{key} {list(blocks)}: of the model's {plural(count, 'block')} this names one twice"
    return None


def evenly_spaced(most: int, count: int) -> tuple[int, ...]:
    """At most `most` of `count` blocks with about equal distances; the last block is the last of them."""
    taken = min(most, count)
    return tuple((place + 1) * count // taken - 1 for place in range(taken))
