"""Packs that die under a stand-in for Ray Tune: what becomes of their trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from scripted import essence
from scripted_pack import FakeTune, ScriptedPack, outcomes, turn_until_reports

from trainables.errors import ClusterError
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.recorder import Halt

ASHA = {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0}}
AUTO = {"packing": "auto"}


def test_partners_of_a_pack_that_died_run_again_and_are_charged_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 6})
    turn_until_reports(tune, 6)
    tune.kill(0)
    assert "the worker process of trials 0, 1, 2 died" in capsys.readouterr().err
    tune.open()
    assert tune.packs.members(1) == [0, 1, 2]
    assert [tune.recorder.trial(n).joined for n in range(3)] == [0, 0, 0]
    tune.run()
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED}
    for trial in tune.recorder.history.trials.values():
        assert [r.epoch for r in trial.reports] == [float(e + 1) for e in range(9)]


@pytest.mark.parametrize("reports", [1, 4, 11, 20])
def test_a_single_pack_that_dies_changes_nothing_of_the_sweep(tmp_path: Path, reports: int) -> None:
    """Its trials start again; each takes its old place, so that reports and proposals keep their order."""
    whole, died = (
        FakeTune(tmp_path / name, search={"trials": 12, "tpe": {"startup_trials": 3}}, scheduler=ASHA)
        for name in ("whole", "died")
    )
    whole.run()
    turn_until_reports(died, reports)
    died.kill(0)
    died.run()
    assert Outcome.PRUNED in outcomes(whole).values()
    assert essence(died.folder) == essence(whole.folder)


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("retries", [0, 2])
def test_the_trial_at_fault_shows_itself_and_it_alone_fails(
    tmp_path: Path, places: int, retries: int
) -> None:
    """Each pack with trial 1 dies at once."""
    tune = FakeTune(tmp_path / "sweep", places=places, search={"trials": 9}, retries=retries)
    packs_with_it = []

    for _ in range(500):
        tune.open()
        if (pack := tune.packs.pack_of(1)) is not None:
            packs_with_it.append(tune.packs.members(pack))
            tune.kill(pack)
        elif not tune.turn():
            break
    assert outcomes(tune) == {n: Outcome.FAILED if n == 1 else Outcome.COMPLETED for n in range(9)}
    ended = tune.recorder.trial(1).ended
    assert ended is not None
    assert ended.reason == "its worker process died"
    in_company, alone = packs_with_it[:2], packs_with_it[2:]
    assert all(len(members) > 1 for members in in_company)
    assert alone == [[1]] * (1 + retries)


def test_trials_whose_packs_died_twice_run_one_after_the_other_without_partners(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", search={"trials": 6})
    for pack in range(2):
        tune.open()
        assert tune.packs.members(pack) == [0, 1, 2]
        tune.kill(pack)
    for number in range(3):
        tune.open()
        tune.turn()
        assert tune.packs.members(2 + number) == [number]
        tune.run(until=lambda number=number: tune.recorder.trial(number).ended is not None)
    tune.open()
    assert tune.sizes == [3]
    tune.run()
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED}


def test_a_trial_that_dies_alone_is_charged(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", resources={"packing": 1}, search={"trials": 2}, retries=1)
    tune.open()
    tune.kill(0)
    tune.open()
    assert tune.packs.members(1) == [0]
    tune.kill(1)
    assert outcomes(tune)[0] is Outcome.FAILED
    tune.run()
    assert outcomes(tune) == {0: Outcome.FAILED, 1: Outcome.COMPLETED}


def test_the_search_is_not_over_while_a_pack_may_die(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", places=2, search={"trials": 3})
    tune.open()
    assert tune.searcher.suggest("more") is None
    for pack in range(2):
        tune.kill(pack)
    assert not tune.finished
    tune.run()
    assert tune.searcher.suggest("more") == Searcher.FINISHED
    assert set(outcomes(tune).values()) == {Outcome.COMPLETED}


class Broken(ScriptedPack):
    """Its worker cannot be set up, like that of `cluster.ray_worker`."""

    unfit = False

    def step(self) -> dict[str, Any]:
        failure = {"outcome": "failed", "reason": "ImportError: no torch", "unfit": self.unfit}
        return {"trial": self.job.trial, "failure": failure, "done": True}


class Unfit(Broken):
    unfit = True


def test_a_worker_that_cannot_be_set_up_fails_its_trials_with_the_reason(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", pack=Broken, search={"trials": 4})
    tune.run()
    assert set(outcomes(tune).values()) == {Outcome.FAILED}
    assert {t.ended.reason for t in tune.recorder.history.trials.values() if t.ended} == {
        "ImportError: no torch"
    }


def test_a_node_that_can_run_no_pack_ends_the_sweep_and_blames_none(tmp_path: Path) -> None:
    tune = FakeTune(tmp_path / "sweep", pack=Unfit, search={"trials": 4})
    with pytest.raises(Halt) as halted:
        tune.run()
    assert halted.value.ending is Ending.FAILED
    assert isinstance(halted.value.error, ClusterError)
    assert set(outcomes(tune).values()) == {None}
