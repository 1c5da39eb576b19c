from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from random_records import (
    COMPARABLE,
    FINISHED,
    STOPPED,
    header_of,
    naive_ranking,
    random_experiment,
    random_records,
)
from recorded import DOMAINS, TRIALS, write
from recorded import experiment as recorded
from scripted import Scripted, experiment, prepared_in

from trainables.run_folder import CONTROL
from trainables.specs.job import ScoringJob, ScoringResult
from trainables.specs.workload import ValueRule
from tuning.experiment.sections.scoring import ScoringSpec
from tuning.ledger.history import History
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import PreparedRecord, Record, ScoredRecord, ScoringRecord
from tuning.ranking.finalists import Candidate, candidates
from tuning.ranking.standing import Objective
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment

# --- which ------------------------------------------------------------------------------------

COUNTS = {"train": 160, "test": 32}


def picked(tmp_path: Path, *, baseline: float | None = None, counts: Any = COUNTS, **parts: Any) -> list[Any]:
    asked = recorded(**parts)
    folder = tmp_path / f"n{len(list(tmp_path.iterdir()))}"
    history = read_history(write(folder, TRIALS, of=asked, baseline=baseline))
    assert history.prepared is not None
    object.__setattr__(history.prepared, "counts", counts)
    return [(c.trial, c.epoch) for c in candidates(asked, history)]


def test_finalists_are_the_best_on_validation_images_with_the_epoch_of_their_best_report(
    tmp_path: Path,
) -> None:
    # 1 has a better value than 2, but was stopped before its end.
    assert picked(tmp_path) == [(0, 5.0), (4, 2.0), (2, 6.0)]
    assert picked(tmp_path, scoring={"finalists": 4})[-1] == (1, 2.0)
    assert picked(tmp_path, scoring={"finalists": 1}) == [(0, 5.0)]


def test_under_rule_last_those_that_were_stopped_are_no_finalists(tmp_path: Path) -> None:
    # The weights are still those of the best report: no others are kept.
    assert picked(tmp_path, rule="last") == [(0, 5.0), (4, 2.0), (2, 6.0)]


def test_the_best_of_each_adapter_and_freezing_mode(tmp_path: Path) -> None:
    assert picked(tmp_path, scoring={"trials": "adapters"}) == [(0, 5.0), (4, 2.0), (2, 6.0)]


def test_each_means_all_that_ran_to_their_own_end(tmp_path: Path) -> None:
    assert picked(tmp_path, scoring={"trials": "each"}) == [(0, 5.0), (4, 2.0), (2, 6.0)]


def test_the_untouched_model_comes_last_where_it_says_something(tmp_path: Path) -> None:
    assert picked(tmp_path, baseline=0.1)[-1] == (None, None)
    assert Candidate() == Candidate(None, None)


def test_nothing_is_scored_without_images_or_where_the_file_says_none(tmp_path: Path) -> None:
    assert picked(tmp_path, baseline=0.1, scoring={"trials": "none"}) == []
    assert picked(tmp_path, baseline=0.1, counts={"train": 160, "test": 0}) == []
    data = {"embedded": {"domain": "inverted"}, "domains": DOMAINS}
    assert picked(tmp_path, counts={"train": 160}, data=data, scoring={"finalists": 1}) == [(0, 5.0)]


def test_finalists_of_random_records_are_the_first_of_the_ranking() -> None:
    found = 0
    for seed in range(150):
        rng = random.Random(seed)
        asked = random_experiment(rng)
        history = History.of(header_of(asked), random_records(rng, asked))
        history = replace(history, prepared=PreparedRecord(fingerprint="f", counts=COUNTS))
        last = asked.objective.value == "last"
        named = [("", trial) for trial in history.trials.values()]
        objective = Objective.of(asked.workload)
        ranked = naive_ranking(named, objective, [FINISHED] if last else [FINISHED, STOPPED])
        each = naive_ranking(named, objective, [FINISHED])
        kept = {
            p[1]: p[3] for p in naive_ranking(named, replace(objective, rule=ValueRule.BEST), [COMPARABLE])
        }
        for trials, expected in (
            ({"finalists": 3}, ranked[:3]),
            ({"trials": "each"}, each),
            ({"trials": "adapters"}, ranked[:1]),  # all trials have one adapter
        ):
            scoring = ScoringSpec.model_validate_json(json.dumps(trials))
            chosen = candidates(asked.model_copy(update={"scoring": scoring}), history)
            assert [(c.trial, c.epoch) for c in chosen] == [(p[1], kept[p[1]]) for p in expected]
            found += len(chosen)
    assert found > 300


# --- as Ray tasks -----------------------------------------------------------------------------


pytestmark = pytest.mark.usefixtures("ray_once")


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return prepared_in(tmp_path / "data", counts={"train": 4, "test": 2}, classes=["cat"])


def sweep(storage: Path, prepared: Path, scorer: Any, also: Any = None, **parts: Any) -> LaunchResult:
    rates = {"learning_rate": {"choice": [1e-5, 1e-4, 1e-3, 1e-2]}}
    return launch_experiment(
        experiment(**({"space": rates, "search": {"grid": {}}, "trial": {"epochs": 2}} | parts)),
        storage,
        trainable=Scripted,
        prepare=lambda _: prepared,
        scorer=scorer,
        on_event=also,
    )


def by_job(job: ScoringJob) -> ScoringResult:
    """Check the job and return metrics, one of them not a number; two trials fail."""
    if job.trial == 1:
        raise ValueError("no such layer")
    if job.trial == 2:
        os._exit(1)
    whose = job.weights is None or job.weights.endswith(f"/trials/{job.trial:04d}/best.ckpt")
    plain = job == ScoringJob.model_validate_json(job.model_dump_json())
    return ScoringResult(
        metrics={"map": 0.5, "map/cat": math.nan, "whose": float(whose)},
        domains={"dim": {"map": 0.25, "plain": float(plain)}},
        robustness={"dim": 0.5},
    )


def test_each_score_is_recorded_as_soon_as_it_is_there_and_one_that_fails_fails_alone(
    tmp_path: Path, prepared: Path
) -> None:
    events: list[Record] = []
    result = sweep(tmp_path, prepared, by_job, events.append, scoring={"trials": "each"})
    assert result.outcome is Ending.FINISHED
    assert {t.outcome for t in result.history.trials.values()} == {Outcome.COMPLETED}
    assert result.history.prepared is not None
    assert result.history.prepared.classes == ["cat"]

    scores = result.history.scores
    assert set(scores) == {0, 1, 2, 3, None}
    assert {n: s.reason for n, s in scores.items()} == {
        0: None,
        1: "ValueError: no such layer",
        2: "its worker process died",
        3: None,
        None: None,
    }
    good = scores[3]
    assert good.epoch == 2.0
    assert good.metrics == {"map": 0.5, "map/cat": None, "whose": 1.0}
    assert good.domains["dim"] == {"map": 0.25, "plain": 1.0}
    assert good.robustness == {"dim": 0.5}
    assert scores[None].epoch is None

    # Announced first, best first, and closed after the last; file and memory agree.
    kinds = [event.kind for event in events if event.kind in ("scoring", "scored", "closed")]  # type: ignore[attr-defined]
    assert kinds == ["scoring", *["scored"] * 5, "closed"]
    (begun,) = [event for event in events if isinstance(event, ScoringRecord)]
    assert begun.trials == [3, 2, 1, 0, None]
    assert read_history(result.folder) == result.history


def slowly(job: ScoringJob) -> ScoringResult:
    time.sleep(0.0 if job.trial == 3 else 3600.0)
    return ScoringResult(metrics={"map": 0.5})


@pytest.mark.parametrize("way", ["signal", "stop"])
def test_an_interrupt_while_scoring_keeps_what_is_there(tmp_path: Path, prepared: Path, way: str) -> None:
    def interrupt(record: Record) -> None:
        if isinstance(record, ScoredRecord) and way == "signal":
            signal.raise_signal(signal.SIGINT)
        elif isinstance(record, ScoredRecord):
            (tmp_path / "sweep" / CONTROL).mkdir()
            (tmp_path / "sweep" / CONTROL / "stop").touch()

    result = sweep(tmp_path, prepared, slowly, interrupt, resources={"concurrent": 1})
    assert result.outcome is Ending.INTERRUPTED
    assert set(result.history.scores) == {3}
    assert [t.outcome for t in result.history.trials.values()] == [Outcome.COMPLETED] * 4
    assert [r.kind for r in read_records(result.folder)][-2:] == ["scored", "closed"]


def test_nothing_is_scored_after_a_sweep_that_was_interrupted(tmp_path: Path, prepared: Path) -> None:
    def interrupt(record: Record) -> None:
        if record.kind == "report":  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)

    result = sweep(tmp_path, prepared, by_job, interrupt, trial={"epochs": 10_000})
    assert result.outcome is Ending.INTERRUPTED
    assert result.history.scoring is None
    assert not result.history.scores
