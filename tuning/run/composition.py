"""What one run of a sweep is composed of, by `launch` and by `resume`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.experiment.spec import Experiment
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import Record, WarmStartRecord
from tuning.run.left_behind import LeftBehind
from tuning.run.scoring import Scorer


@dataclass(frozen=True)
class Composition:
    """The parts of a run.

    past: the record so far of a resumed experiment.  retry_failed: whether its failed trials start again.
    earlier: trials of other experiments to learn from that are not recorded yet.  left: requests to an
    earlier driver.
    """

    experiment: Experiment
    folder: Path
    recorder: Recorder
    trainable: type[Any] | None = None
    scorer: Scorer | None = None
    past: tuple[Record, ...] = ()
    retry_failed: bool = False
    earlier: tuple[WarmStartRecord, ...] = ()
    left: LeftBehind | None = None
