"""YAML whose aliases repeat values: a few lines of it may stand for more values than any memory holds."""

from __future__ import annotations

from collections.abc import Sequence

from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

REPEATED = 100_000
"""The most values that aliases may add to those that are written out."""
OFTEN = f"aliases that refer to aliases repeat values more than {REPEATED:,} times; write out what is meant"
"""What is said of a value that `repeated_too_often` finds."""


def repeated_too_often(root: Node) -> int | None:
    """The line, from 1, of the first value that aliases make too large; None if there is none.

    Nine aliases of nine aliases, ten times over, are a hundred bytes and three thousand million values. Also
    mappings that are merged (`<<`) count each time.
    """
    sizes: dict[int, int] = {}
    to_see: list[tuple[Node, bool]] = [(root, False)]
    while to_see:
        node, seen = to_see.pop()
        if seen:
            sizes[id(node)] = 1 + sum(sizes[id(each)] for each in _below(node))
            if sizes[id(node)] > REPEATED + len(sizes):
                return int(node.start_mark.line) + 1
        elif id(node) not in sizes:
            sizes[id(node)] = 1  # as it counts in itself, which is another fault
            to_see.append((node, True))
            to_see.extend((each, False) for each in _below(node))
    return None


def _below(node: Node) -> Sequence[Node]:
    if isinstance(node, MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, SequenceNode) else ()
