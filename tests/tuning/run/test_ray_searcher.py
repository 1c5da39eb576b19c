from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from places import ON_CPU, ON_GPU, Places
from ray.tune.search import Searcher
from scripted import experiment

from trainables.errors import AdapterError
from trainables.specs.workload import Direction
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger, read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ExperimentRecord, StartedRecord
from tuning.run.ray_searcher import OptunaSearcher
from tuning.run.room.worker_needs import bundle_of
from tuning.search.proposal import Proposal
from tuning.search.study import Study

HEADER = ExperimentRecord(name="sweep", file="", experiment={})


class Fixture:
    """A searcher over a real study and a real ledger."""

    def __init__(self, folder: Path, **parts: Any) -> None:
        self.limit = 2
        self.reserved = ON_CPU
        self.refused: set[int] = set()
        given = experiment(**parts)
        self.ledger = Ledger.create(folder, HEADER)
        self.recorder = Recorder(self.ledger, History(HEADER))
        self.study = Study(
            given.space,
            given.search,
            name=given.name,
            direction=Direction.MAXIMIZE,
            trials=given.search.trials,
        )
        self.searcher = OptunaSearcher(
            self.study,
            self.recorder,
            configure=self.configure,
            capacity=Places(lambda: self.limit, lambda: self.reserved),
        )

    def configure(self, proposal: Proposal) -> dict[str, Any]:
        if proposal.number in self.refused:
            raise AdapterError("rank 7 does not divide 32")
        return {"trial": proposal.number}

    def suggest(self, trial_id: str) -> Any:
        """What Ray gets, without what its worker reserves."""
        given = self.searcher.suggest(trial_id)
        return {"trial": given["trial"]} if isinstance(given, dict) else given

    def end(self, trial_id: str, number: int) -> None:
        ended = self.recorder.end(number, Outcome.COMPLETED)
        self.study.tell(number, Outcome.COMPLETED, ended.value)
        self.searcher.on_trial_complete(trial_id)


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path / "sweep", search={"trials": 4})


def test_a_start_is_recorded_before_ray_gets_the_configuration(fixture: Fixture) -> None:
    assert fixture.suggest("a") == {"trial": 0}
    (_, started) = read_records(fixture.ledger.folder)
    assert isinstance(started, StartedRecord)
    assert set(started.params) >= {"adapter", "learning_rate"}


def test_it_asks_for_as_many_trials_as_the_cluster_runs_and_more_as_it_grows(fixture: Fixture) -> None:
    assert [fixture.suggest(c) for c in "abc"] == [{"trial": 0}, {"trial": 1}, None]
    fixture.limit = 3
    assert fixture.suggest("c") == {"trial": 2}
    assert fixture.suggest("d") is None
    fixture.end("a", 0)
    assert fixture.suggest("d") == {"trial": 3}
    assert fixture.suggest("e") is None


def test_it_has_not_finished_while_a_trial_runs(tmp_path: Path) -> None:
    """After FINISHED Ray asks for no more, but the worker may die, or a trial may be added."""
    fixture = Fixture(tmp_path / "sweep", search={"trials": 1})
    assert [fixture.suggest(c) for c in "ab"] == [{"trial": 0}, None]
    fixture.searcher.on_trial_complete("a", error=True)
    fixture.study.propose_again(fixture.recorder.trial(0))
    assert [fixture.suggest(c) for c in "cd"] == [{"trial": 0}, None]
    fixture.end("c", 0)
    assert fixture.suggest("e") == Searcher.FINISHED


def test_the_limit_is_ours_and_not_rays_fixed_one(fixture: Fixture) -> None:
    assert fixture.searcher.set_max_concurrency(1)


def test_the_first_trial_waits_for_ray_and_comes_once(fixture: Fixture) -> None:
    assert fixture.searcher.begin()
    assert [fixture.suggest(c) for c in "abc"] == [{"trial": 0}, {"trial": 1}, None]
    started = [r.trial for r in read_records(fixture.ledger.folder) if isinstance(r, StartedRecord)]
    assert started == [0, 1]


def test_where_no_trial_can_run_there_is_nothing_to_begin(fixture: Fixture) -> None:
    fixture.refused = {0, 1, 2, 3}
    assert not fixture.searcher.begin()
    assert [trial.outcome for trial in fixture.recorder.history.trials.values()] == [Outcome.FAILED] * 4


def test_all_trials_out_ends_the_search(fixture: Fixture) -> None:
    fixture.limit = 10
    for number, trial_id in enumerate("abcd"):
        fixture.suggest(trial_id)
        fixture.end(trial_id, number)
    assert fixture.suggest("e") == Searcher.FINISHED


def test_a_configuration_that_cannot_be_tried_fails_alone_with_its_reason(fixture: Fixture) -> None:
    fixture.refused = {0}
    assert fixture.suggest("a") == {"trial": 1}
    ended = fixture.recorder.trial(0).ended
    assert ended is not None
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "rank 7 does not divide 32")


def test_a_repeated_configuration_is_recorded_as_reused_with_the_value_it_had(tmp_path: Path) -> None:
    fixture = Fixture(
        tmp_path / "sweep",
        space={
            "adapter": {"choice": ["none", "lora"]},
            "learning_rate": {"float": [1e-4, 1e-3], "when": {"adapter": "lora"}},
        },
        search={"random": {}, "trials": 30},
    )
    fixture.study._asks, fixture.study._random_asks = 1, 0
    fixture.limit = 100
    while (config := fixture.suggest("a")) not in (None, Searcher.FINISHED):
        assert isinstance(config, dict)
        fixture.end("a", config["trial"])
    reused = [t for t in fixture.recorder.history.trials.values() if t.outcome is Outcome.REUSED]
    assert reused
    for trial in reused:
        assert trial.ended is not None
        assert trial.ended.of is not None
        original = fixture.recorder.trial(trial.ended.of)
        assert (trial.hash, trial.value, trial.epoch) == (original.hash, original.value, original.epoch)


def test_nothing_is_saved_for_rays_own_restore(fixture: Fixture, tmp_path: Path) -> None:
    import pickle

    fixture.searcher.save(str(tmp_path / "state.pkl"))
    assert not (tmp_path / "state.pkl").exists()
    assert len(pickle.dumps(fixture.searcher)) < 200


def test_trials_take_a_gpu_from_the_moment_that_there_is_one(fixture: Fixture) -> None:
    """Those that run on CPUs leave its places free, and end as they began."""
    suggest = fixture.searcher.suggest
    assert [bundle_of(suggest(each)).bundles for each in "ab"] == [[{"CPU": 1.0}]] * 2
    assert suggest("c") is None
    fixture.reserved, fixture.limit = ON_GPU, 1
    assert bundle_of(suggest("c")).bundles == [{"CPU": 1.0, "GPU": 1.0}]
    assert suggest("d") is None
    fixture.end("a", 0)
    assert suggest("d") is None
    fixture.end("c", 2)
    assert bundle_of(suggest("d")).bundles == [{"CPU": 1.0, "GPU": 1.0}]
