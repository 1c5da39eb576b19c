"""Trials that begin with another one: warm copies, and trials that are continued."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, Slow, Sweeps, essence, experiment, prepared_in

from trainables.run_folder import BEST_WEIGHTS, LAST_STATE
from trainables.specs.job import TrialJob
from trainables.specs.workload import Direction
from tuning.checkpoints.parents import PARENTS
from tuning.experiment.space import config_hash
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER, Ledger, read_history, read_records
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import (
    AddedRecord,
    EndedRecord,
    ExperimentRecord,
    Record,
    RemovedRecord,
    ReportRecord,
    StartedRecord,
)
from tuning.ledger.requests import AddRequest, ExtendRequest, leave_request, requests_in
from tuning.ledger.storage import trial_folder
from tuning.run.composition import Composition
from tuning.run.proposed_jobs import Configure, ConfigurePacks
from tuning.run.resume import resume_experiment
from tuning.run.steering.build_inbox import build_inbox
from tuning.search.proposal import Proposal
from tuning.search.study import Study

FIRST: dict[str, Any] = {"adapter": "lora", "learning_rate": 0.01, "lora.rank": 4}
OTHER = FIRST | {"learning_rate": 0.001}


class Bench:
    """A sweep whose first trial has ended with checkpoints, and what takes requests up."""

    def __init__(self, folder: Path, outcome: Outcome = Outcome.COMPLETED) -> None:
        self.given, self.folder = experiment(search={"trials": 5}), folder
        header = ExperimentRecord(name="sweep", file="", experiment=self.given.model_dump(mode="json"))
        self.recorder = Recorder(Ledger.create(folder, header), History(header))
        self.study = Study(
            self.given.space, self.given.search, name="sweep", direction=Direction.MAXIMIZE, trials=5
        )
        self.of = Composition(self.given, folder, self.recorder)
        self.inbox = build_inbox(self.of, self.study)
        self.recorder.record(StartedRecord(trial=0, params=FIRST, hash=config_hash(FIRST)))
        for epoch, value in ((1.0, 0.5), (2.0, 0.7), (3.0, 0.6)):
            self.recorder.record(
                ReportRecord(trial=0, epoch=epoch, step=int(epoch), objective=value, metrics={"map": value})
            )
        self.recorder.record(EndedRecord(trial=0, outcome=outcome, value=0.7, epoch=3.0))
        trial_folder(folder, 0).mkdir(parents=True)
        (trial_folder(folder, 0) / LAST_STATE).write_bytes(b"state")
        (trial_folder(folder, 0) / BEST_WEIGHTS).write_bytes(b"weights")

    def ask(self, request: AddRequest | ExtendRequest) -> list[AddedRecord]:
        leave_request(self.folder, request)
        self.inbox.take()
        return [r for r in read_records(self.folder) if isinstance(r, AddedRecord)]


def test_a_warm_copy_gets_a_copy_of_the_best_weights_that_never_changes(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep")
    (record,) = bench.ask(AddRequest(params=OTHER, of=0, warm=True, by="ann"))
    assert record.parent is not None
    name = f"{hashlib.sha256(b'weights').hexdigest()[:32]}.ckpt"
    assert (record.parent.trial, record.parent.state, record.parent.file) == (0, False, name)
    assert record.parent.epoch == 2.0, "that of its best report"
    (trial_folder(bench.folder, 0) / BEST_WEIGHTS).unlink()
    assert (bench.folder / PARENTS / name).read_bytes() == b"weights"
    proposal = bench.study.propose()
    assert isinstance(proposal, Proposal)
    assert (dict(proposal.params), proposal.parent) == (OTHER, record.parent)
    job: TrialJob = Configure(bench.of, bench.folder)(proposal)["job"]
    assert job.parent is not None
    assert (job.parent.path, job.parent.state) == (str(bench.folder / PARENTS / name), False)
    assert job.config.epochs == 9
    assert ConfigurePacks(bench.of, bench.folder, 2).trial(proposal, None).parent == job.parent


def test_a_continued_trial_has_its_parents_configuration_and_more_epochs(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep")
    (record,) = bench.ask(ExtendRequest(trial=0, epochs=20))
    assert record.parent is not None
    assert (record.of, record.parent.state, record.parent.epochs) == (0, True, 20)
    proposal = bench.study.propose()
    assert isinstance(proposal, Proposal)
    job: TrialJob = Configure(bench.of, bench.folder)(proposal)["job"]
    assert dict(proposal.params) == FIRST
    assert job.config == bench.given.trial_config(FIRST | {"epochs": 20})
    bench.recorder.record(proposal.started())
    assert bench.recorder.trial(proposal.number).settings == FIRST | {"epochs": 20}


def test_a_configuration_that_was_only_tried_warm_is_still_proposed_from_the_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep")
    bench.ask(AddRequest(params=OTHER, of=0, warm=True))
    bench.ask(AddRequest(params=OTHER))
    first, second = bench.study.propose(), bench.study.propose()
    assert isinstance(first, Proposal)
    assert isinstance(second, Proposal)
    assert first.params == second.params
    assert first.hash != second.hash
    assert second.parent is None


@pytest.mark.parametrize(
    ("outcome", "asked", "said"),
    [
        ("completed", AddRequest(params=FIRST | {"lora.rank": 8}, of=0, warm=True), "lora differs"),
        ("completed", AddRequest(params=OTHER, of=7, warm=True), "sweep has no trial 7"),
        ("completed", AddRequest(params=OTHER, warm=True), "only as the copy of another one"),
        ("completed", ExtendRequest(trial=0, epochs=3), "has run 3 epochs; --epochs is their new total"),
        ("interrupted", ExtendRequest(trial=0, epochs=5), "trial 0 of sweep has not ended yet"),
        ("failed", ExtendRequest(trial=0, epochs=5), "trial 0 of sweep has failed"),
        ("diverged", AddRequest(params=OTHER, of=0, warm=True), "trial 0 of sweep has diverged"),
        ("reused", ExtendRequest(trial=0, epochs=5), "took its result from another trial"),
    ],
)
def test_what_cannot_begin_with_another_trial_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], outcome: str, asked: Any, said: str
) -> None:
    bench = Bench(tmp_path / "sweep", Outcome(outcome))
    assert bench.ask(asked) == []
    assert said in capsys.readouterr().err
    assert requests_in(bench.folder) == []


def test_checkpoints_that_are_gone_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path / "sweep")
    (trial_folder(bench.folder, 0) / LAST_STATE).unlink()
    assert bench.ask(ExtendRequest(trial=0, epochs=5)) == []
    assert "trial 0 of sweep has left no state" in capsys.readouterr().err
    bench.recorder.record(RemovedRecord(trial=0, files=[BEST_WEIGHTS], bytes=7))
    assert bench.ask(AddRequest(params=OTHER, of=0, warm=True)) == []
    assert "checkpoints.budget_gb has removed the weights of trial 0" in capsys.readouterr().err


def test_the_same_is_not_added_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path / "sweep")
    assert len(bench.ask(ExtendRequest(trial=0, epochs=5))) == 1
    assert len(bench.ask(ExtendRequest(trial=0, epochs=5))) == 1
    assert "was added before, and waits for its turn" in capsys.readouterr().err
    assert len(bench.ask(ExtendRequest(trial=0, epochs=6))) == 2


# --- whole sweeps -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pruned_trial_is_continued_to_its_end_wherever_the_driver_dies(
    sweep: Sweeps, ray_once: None, tmp_path: Path
) -> None:
    folder, asked = sweep.storage / "sweep", set[int]()

    def heard(record: Record) -> None:
        if isinstance(record, EndedRecord) and record.outcome is Outcome.PRUNED and not asked:
            asked.add(record.trial)
            trial_folder(folder, record.trial).mkdir(parents=True, exist_ok=True)
            (trial_folder(folder, record.trial) / LAST_STATE).write_bytes(b"state")
            leave_request(folder, ExtendRequest(trial=record.trial, epochs=12))

    asha = {"asha": {"grace_epochs": 1, "reduction_factor": 3}}
    parts: dict[str, Any] = {
        "search": {"trials": 8, "seed": 3, "tpe": {"startup_trials": 3}},
        "scheduler": asha,
        "resources": {"concurrent": 1},
    }
    sweep(Slow, also=heard, **parts)
    history = read_history(folder)
    (child,) = [trial for trial in history.trials.values() if trial.parent is not None]
    assert history.trials[child.parent.trial].outcome is Outcome.PRUNED  # type: ignore[union-attr]
    assert (child.outcome, child.epoch, child.stopped) == (Outcome.COMPLETED, 12.0, None)
    assert any(trial.stopped and trial.stopped.by is StoppedBy.ASHA for trial in history.trials.values())
    lines = (folder / LEDGER).read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if b'"kind":"added"' in line)
    reports = [n for n, line in enumerate(lines) if f'"report","trial":{child.number},'.encode() in line]
    prepared = prepared_in(tmp_path / "prepared")
    for cut in (first + 1, reports[0] + 1, reports[4] + 1, len(lines) - 4):
        other = tmp_path / str(cut) / folder.name
        other.mkdir(parents=True)
        (other / LEDGER).write_bytes(b"".join(lines[:cut]))
        resume_experiment(other, trainable=Scripted, prepare=lambda _: prepared)
        assert essence(other) == essence(folder), cut
