"""Scores a trial's saved weights on test images and domains, in a worker.

A worker process keeps its backbone and data for the next job of the same experiment.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from trainables.errors import reason_of
from trainables.inference.examples import draw_examples
from trainables.inference.score_on_test import (
    Scores,
    chosen_thresholds,
    score_baseline,
    score_model,
    test_parts,
)
from trainables.inference.trained_model import rebuild_model
from trainables.metrics.details import write_details
from trainables.metrics.per_image import are_stored, write_per_image
from trainables.metrics.results import Results
from trainables.run_folder import DETAILS, TEST_RESULTS, append_to_log, image_results
from trainables.specs.data import Split
from trainables.specs.job import Job, ScoringJob, ScoringResult
from trainables.specs.owner import Owner
from trainables.specs.workload import Workload
from trainables.storage_paths import Place, place
from trainables.training.checkpoint import read_weights
from trainables.training.engine import Engine


def score_trial(job: ScoringJob) -> ScoringResult:
    """Metrics of one model, or the reason why there are none.

    The results on each test image and a few pictures are saved in the trial's folder, next to the log.
    """
    torch.set_num_threads(job.threads)
    folder = job.folder
    try:
        engine = shared_engine(job)
        if folder is None or job.weights is None:
            scores = score_baseline(engine)
        else:
            scores = _scored(engine, place(job.weights), folder, job.owner)
    except Exception as error:
        _log(folder, traceback.format_exc())
        return ScoringResult(reason=reason_of(error))
    if scores is None:
        return ScoringResult(reason="its head is new, so its metrics are meaningless")
    _log(folder, f"test images {scores.test}")
    for name, metrics in scores.domains.items():
        _log(folder, f"domain {name} {metrics}")
    return ScoringResult(
        metrics=scores.test,
        domains=scores.domains,
        robustness=scores.robustness,
        above_floor=scores.above_floor,
    )


def shared_engine(job: Job) -> Engine:
    """The engine of the last job of the same experiment in this process, or a new one."""
    return _engine(job.workload.at_size().model_dump_json(), job.prepared)


@lru_cache(maxsize=1)
def _engine(workload: str, prepared: Path) -> Engine:
    # workload: as JSON, because it contains dictionaries.
    return Engine(Workload.model_validate_json(workload), prepared)


def _scored(engine: Engine, weights: Place, folder: Path, owner: Owner | None) -> Scores:
    trained = rebuild_model(engine.workload, engine.task, read_weights(weights, owner))
    # The results in the folder belong to weights that have been replaced.
    shutil.rmtree(folder / TEST_RESULTS, ignore_errors=True)

    own: list[Results] = []

    def keep(domain: str | None, results: Results) -> None:
        if domain is None:
            own.append(results)
        with _optional(folder, "results by test image"):
            if are_stored(len(results.names)):
                write_per_image(results.by_image(), image_results(folder, domain))

    scores = score_model(engine, trained.model, trained.config, keep)
    with _optional(folder, "details of the results"):
        chosen = chosen_thresholds(trained, engine.data.splits[Split.VALIDATION])
        for results in own:
            if (details := results.details(chosen)) is not None:
                write_details(details, folder / TEST_RESULTS / DETAILS)
    with _optional(folder, "example predictions"):
        draw_examples(trained, test_parts(engine), folder / TEST_RESULTS)
    return scores


@contextmanager
def _optional(folder: Path, what: str) -> Iterator[None]:
    """Log a full disk, or a picture that cannot be drawn, and continue: metrics do not depend on it."""

    try:
        yield
    except Exception as error:
        append_to_log(folder, f"{what} are not kept: {reason_of(error)}")


def _log(folder: Path | None, text: str) -> None:
    if folder is not None:
        append_to_log(folder, text)
