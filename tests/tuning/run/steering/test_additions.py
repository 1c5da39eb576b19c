"""Configurations that users add while a sweep runs, or while it rests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, Slow, Sweeps, essence, experiment, prepared_in

from trainables.run_folder import CONTROL
from trainables.specs.workload import Direction
from tuning.experiment.space import config_hash
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER, Ledger, read_history, read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import AddedRecord, EndedRecord, ExperimentRecord, Record, StartedRecord
from tuning.ledger.requests import AddRequest, leave_request, requests_in
from tuning.run.composition import Composition
from tuning.run.launch import launch_experiment
from tuning.run.resume import resume_experiment
from tuning.run.steering.build_inbox import build_inbox
from tuning.search.proposal import Proposal
from tuning.search.study import Study

OWN = {"adapter": "lora", "learning_rate": 0.012, "lora.rank": 4}
SHARED = {"search": {"trials": 5, "seed": 3, "random": {}}, "resources": {"concurrent": 1}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_in(tmp_path_factory.mktemp("prepared"))


class Bench:
    """What takes requests up, without a sweep."""

    def __init__(self, folder: Path) -> None:
        self.given = experiment(**SHARED)
        header = ExperimentRecord(name="sweep", file="", experiment=self.given.model_dump(mode="json"))
        self.recorder = Recorder(Ledger.create(folder, header), History(header))
        self.study = Study(
            self.given.space, self.given.search, name="sweep", direction=Direction.MAXIMIZE, trials=5
        )
        self.folder = folder
        self.additions = build_inbox(Composition(self.given, folder, self.recorder), self.study)

    @property
    def added(self) -> list[Record]:
        return [record for record in read_records(self.folder) if isinstance(record, AddedRecord)]


def test_a_request_is_recorded_then_proposed_and_gone(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "sweep")
    leave_request(bench.folder, AddRequest(params=OWN, by="ann", of=3, time=7.0))
    bench.additions.take()
    (record,) = bench.added
    assert isinstance(record, AddedRecord)
    assert (record.params, record.by, record.of, record.asked) == (OWN, "ann", 3, 7.0)
    assert record.hash == config_hash(OWN)
    assert requests_in(bench.folder) == []
    proposal = bench.study.propose()
    assert isinstance(proposal, Proposal)
    assert dict(proposal.params) == OWN
    assert bench.recorder.history.header.experiment["search"]["trials"] == 6  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        (lambda: AddRequest(params={"adapter": "loha"}), "learning_rate: is missing"),
        (lambda: AddRequest(params=OWN | {"rank": 3}), "rank: is no parameter of the space"),
        (lambda: AddRequest(params=OWN | {"lora.rank": 5}), "lora.rank: must be one of 4, 8, got 5"),
    ],
)
def test_what_cannot_be_tried_is_said_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request_of: Callable[[], AddRequest], said: str
) -> None:
    bench = Bench(tmp_path / "sweep")
    leave_request(bench.folder, request_of())
    (bench.folder / CONTROL / "add-9.json").write_text("{")
    bench.additions.take()
    assert not bench.added
    assert requests_in(bench.folder) == []
    error = capsys.readouterr().err
    assert f"a request was not carried out: {said}" in error
    assert "add-9.json is no request" in error


def test_what_is_there_already_is_not_added_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path / "sweep")
    for asked in (1.0, 2.0):
        leave_request(bench.folder, AddRequest(params=OWN, time=asked))
    bench.additions.take()
    assert len(bench.added) == 1
    assert "the configuration was added before, and waits for its turn" in capsys.readouterr().err
    bench.recorder.record(StartedRecord(trial=0, params=dict(OWN), hash=config_hash(OWN)))
    leave_request(bench.folder, AddRequest(params=OWN, time=3.0))
    bench.additions.take()
    assert len(bench.added) == 1
    assert "trial 0 has the configuration to be added already" in capsys.readouterr().err


def test_a_driver_that_died_before_it_removed_the_request_adds_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "sweep")
    request = AddRequest(params=OWN, time=1.0)
    leave_request(bench.folder, request)
    bench.additions.take()
    leave_request(bench.folder, request)  # the same one, still there
    bench.additions.take()
    assert len(bench.added) == 1
    assert capsys.readouterr().err == ""
    assert requests_in(bench.folder) == []


# --- whole sweeps -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory, prepared: Path, ray_once: None) -> Path:
    """The folder of a sweep of five trials, to which one was added when the first had ended."""
    storage = tmp_path_factory.mktemp("steered")

    def heard(record: Record) -> None:
        if isinstance(record, EndedRecord) and record.trial == 0:
            leave_request(storage / "sweep", AddRequest(params=OWN, by="ann"))

    return launch_experiment(
        experiment(**SHARED), storage, trainable=Slow, prepare=lambda _: prepared, on_event=heard
    ).folder


def test_a_sweep_that_runs_takes_it_up(steered: Path) -> None:
    history = read_history(steered)
    assert len(history.trials) == 6
    (own,) = [trial for trial in history.trials.values() if trial.params == OWN]
    assert own.outcome is Outcome.COMPLETED
    assert own.number < 5, "it came before the search's own last one"


def test_whatever_a_resumed_sweep_had_recorded_it_ends_like_the_uninterrupted_one(
    steered: Path, prepared: Path, tmp_path: Path
) -> None:
    lines = (steered / LEDGER).read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if b'"kind":"added"' in line)
    for cut in (first + 1, len(lines) - 9):
        folder = tmp_path / str(cut) / steered.name
        folder.mkdir(parents=True)
        (folder / LEDGER).write_bytes(b"".join(lines[:cut]))
        resume_experiment(folder, trainable=Scripted, prepare=lambda _: prepared)
        assert essence(folder) == essence(steered), cut


@pytest.mark.slow
def test_a_finished_sweep_tries_it_when_resumed(sweep: Sweeps) -> None:
    folder = sweep(search={"trials": 2, "random": {}}).folder
    leave_request(folder, AddRequest(params=OWN))
    result: Any = resume_experiment(folder, trainable=Scripted, prepare=lambda _: sweep.prepared)
    assert len(result.history.trials) == 3
    assert dict(result.history.trials[2].params) == OWN
    assert result.history.finished
    assert requests_in(folder) == []


@pytest.mark.slow
def test_what_comes_after_the_search_is_left_for_a_resume(
    sweep: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    def late(record: Record) -> None:
        if isinstance(record, EndedRecord) and record.trial == 1:
            leave_request(sweep.storage / "sweep", AddRequest(params=OWN))

    folder = sweep(search={"trials": 2, "random": {}}, resources={"concurrent": 1}, also=late).folder
    taken = any(trial.params == OWN for trial in read_history(folder).trials.values())
    told = "takes it up" in capsys.readouterr().err
    assert taken != told
    assert bool(requests_in(folder)) == told
