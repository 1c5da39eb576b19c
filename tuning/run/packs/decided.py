"""What workers decide about the number of trials that they take at once: recorded once, and kept on resume.

What a search proposes depends on how many trials run at once, so a resumed sweep must have the number of the
uninterrupted one, though the memory or the speed of the machine may be another.
"""

from __future__ import annotations

from trainables.specs.pack import Packing, WhyLanes
from tuning.ledger.records import PackingRecord


def packing_in(record: PackingRecord) -> Packing:
    """What a record says; a reason of a newer version counts as one that was asked for."""
    values = {name: getattr(record, name) for name in Packing.model_fields}
    why = WhyLanes(record.why) if record.why in list(WhyLanes) else WhyLanes.ASKED
    return Packing.model_validate(values | {"why": why})


def to_record(known: PackingRecord | None, said: Packing) -> PackingRecord | None:
    """What to record of what a worker says; None if that is known.

    The first worker to decide decides for all, unless memory runs out or the gain was not known before.
    """
    new = PackingRecord(**said.model_dump())
    if known is None or (said.why is WhyLanes.OUT_OF_MEMORY and said.lanes < known.lanes):
        return new
    if known.timed is None and said.timed is not None:
        return new.model_copy(update={"lanes": known.lanes, "why": known.why, "lane_mb": known.lane_mb})
    return None
