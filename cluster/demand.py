"""Asks a cluster's autoscaler for a machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.capacity import Needs


@contextmanager
def demanded(needs: Needs) -> Iterator[None]:
    """Ask for a machine with room for one worker, until the block ends.

    A placement group that waits is what Ray's autoscalers start machines for. Unlike `request_resources` it
    replaces no request of another program. On a cluster that does not scale it changes nothing.
    """
    from ray.util import placement_group, remove_placement_group

    group = placement_group([needs.bundle()])
    try:
        yield
    finally:
        remove_placement_group(group)
