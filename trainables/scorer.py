"""What a worker does to score a trial's kept weights on test images and domains. No ray.

A worker process keeps its backbone and data for the next job of the same experiment.
"""

from __future__ import annotations

import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from trainables.checkpoint import read_weights
from trainables.engine import Engine
from trainables.errors import reason_of
from trainables.folder import note
from trainables.scoring import Scores, score, score_untouched
from trainables.trained import rebuilt
from trainables.workload import Workload


def score_trial(job: dict[str, Any]) -> dict[str, Any]:
    """Figures of one model, by the names of `tuning.records.ScoredRecord`; or the reason why there are none.

    job: trial, weights (None: the untouched model), workload, prepared, threads. What it says goes
    to the trial's log, beside the weights.
    """
    torch.set_num_threads(int(job["threads"]))
    weights = None if job["weights"] is None else Path(job["weights"])
    try:
        engine = _engine(job["workload"], job["prepared"])
        scores = score_untouched(engine) if weights is None else _scored(engine, weights)
    except Exception as error:
        _log(weights, traceback.format_exc())
        return {"reason": reason_of(error)}
    if scores is None:
        return {"reason": "its head is fresh, so it says nothing"}
    _log(weights, f"test images {scores.test}")
    for name, figures in scores.domains.items():
        _log(weights, f"domain {name} {figures}")
    return {"metrics": scores.test, "domains": scores.domains, "robustness": scores.robustness}


@lru_cache(maxsize=1)
def _engine(workload: str, prepared: str) -> Engine:
    return Engine(Workload.model_validate_json(workload), Path(prepared))


def _scored(engine: Engine, weights: Path) -> Scores:
    held = read_weights(weights)
    return score(engine, rebuilt(engine.task, held).model, held.config)


def _log(weights: Path | None, text: str) -> None:
    if weights is not None:
        note(weights.parent, text)
