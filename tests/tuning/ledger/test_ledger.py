from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import pytest
from edited_records import without_checksums
from pydantic import JsonValue

from trainables.errors import LedgerError, StorageError
from tuning.experiment.space import config_hash
from tuning.ledger.checksum import with_checksum
from tuning.ledger.driver_state import driver_alive
from tuning.ledger.ledger import LEDGER, LEFTOVERS, Ledger, read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome, SearchEndedBy, StoppedBy
from tuning.ledger.records import (
    AddedRecord,
    BaselineRecord,
    BuiltRecord,
    ClosedRecord,
    EndedRecord,
    ExperimentRecord,
    OverBudgetRecord,
    PackingRecord,
    PausedRecord,
    PreparedRecord,
    Record,
    RemovedRecord,
    ReportRecord,
    ResumedRecord,
    SamplerAttributes,
    ScoredRecord,
    ScoringRecord,
    SearchEndedRecord,
    StartedRecord,
    StoppedRecord,
    UnpausedRecord,
    UnsavedRecord,
    WarmStartRecord,
)
from tuning.ledger.storage import find_experiment, list_experiments

HEADER = ExperimentRecord(name="a", file="name: a\n", experiment={"name": "a"}, environment={"cpus": 2})
STARTED = StartedRecord(trial=0, params={"learning_rate": 1e-4, "targets": ["query"]}, hash="h0")


def report(epoch: float, objective: float, trial: int = 0) -> ReportRecord:
    return ReportRecord(trial=trial, epoch=epoch, step=int(epoch * 10), objective=objective, train_s=2.0)


ONE_OF_EACH: list[Record] = [
    WarmStartRecord(experiment="b", taken=[], dropped={3: "failed"}),
    PreparedRecord(fingerprint="f", counts={"train": 3}, faults=[{"name": "x.png"}]),
    STARTED,
    AddedRecord(params={"lora.rank": 4}, hash="h", asked=1.5, by="ann", of=0),
    PausedRecord(trial=0, asked=1.5, by="ann"),
    UnpausedRecord(trial=None, asked=1.5),
    SearchEndedRecord(by=SearchEndedBy.EPOCHS, reason="it is used up", trials=3, epochs=12.5),
    PackingRecord(group="g", lanes=8, why="memory has room for no more", lane_mb=3.5),
    BaselineRecord(metrics={"map": 0.1}),
    BuiltRecord(
        trial=0,
        parameters={"adapter": 10, "head": 5, "backbone": 0, "total": 100},
        still=["a.b"],
        worker="node:7",
    ),
    report(1, 0.5),
    UnsavedRecord(trial=0, reason="the disk is full"),
    StoppedRecord(trial=0, by=StoppedBy.ASHA, epoch=1.0),
    EndedRecord(trial=0, outcome=Outcome.PRUNED, value=0.5, epoch=1.0),
    RemovedRecord(trial=0, files=["last.ckpt"], bytes=1000),
    OverBudgetRecord(bytes=1000, reason="they run"),
    ResumedRecord(trials=12, moved={"/a": "/b"}, environment={"python": "3.12"}),
    ScoringRecord(trials=[0, None]),
    ScoredRecord(
        trial=0, epoch=1.0, metrics={"map": 0.4}, domains={"dim": {"map": 0.2}}, robustness={"dim": 0.5}
    ),
    ScoredRecord(trial=None, reason="no memory"),
    ClosedRecord(reason=Ending.FINISHED),
]


def write(folder: Path, *records: Record) -> Path:
    with Ledger.create(folder, HEADER) as ledger:
        for record in records:
            ledger.append(record)
    return folder


def test_every_record_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", *ONE_OF_EACH)
    assert list(read_records(folder)) == [HEADER, *ONE_OF_EACH]
    kinds = {json.loads(line)["kind"] for line in (folder / LEDGER).read_text().splitlines()}
    assert kinds == {cls.model_fields["kind"].default for cls in Record.__subclasses__()}


def test_a_history_has_the_end_of_a_trial(tmp_path: Path) -> None:
    history = read_history(write(tmp_path / "a", *ONE_OF_EACH))
    trial = history.trials[0]
    assert (history.name, history.header.version) == ("a", 1)
    assert history.baseline is not None
    assert history.baseline.metrics == {"map": 0.1}
    assert history.closed is not None
    assert (trial.outcome, trial.value, trial.epoch, trial.seconds) == (Outcome.PRUNED, 0.5, 1.0, 2.0)
    assert trial.parameters == {"adapter": 10, "head": 5, "backbone": 0, "total": 100}
    assert trial.stopped is not None
    assert trial.stopped.by is StoppedBy.ASHA
    assert history.scoring is not None
    assert history.scoring.trials == [0, None]
    assert history.scores[0].robustness == {"dim": 0.5}
    assert history.scores[None].reason == "no memory"


def test_the_latest_number_of_trials_at_once_counts_for_each_group(tmp_path: Path) -> None:
    plain = read_history(write(tmp_path / "none", STARTED))
    assert plain.packing == {}  # as in records of before
    later = PackingRecord(group="g", lanes=4, why="memory ran out with more")
    history = read_history(
        write(tmp_path / "a", *ONE_OF_EACH, later, later.model_copy(update={"group": "h"}))
    )
    assert {group: record.lanes for group, record in history.packing.items()} == {"g": 4, "h": 4}


def test_what_a_sampler_noted_is_read_back_and_stays_when_a_trial_starts_again(tmp_path: Path) -> None:
    def started(number: int, **noted: dict[str, JsonValue]) -> StartedRecord:
        sampler = SamplerAttributes.model_validate(noted) if noted else None
        return StartedRecord(trial=number, params={}, hash=str(number), sampler=sampler)

    notes: list[Record] = [
        started(0, trial={"generation": 0}, study={"place": 0}),
        started(1, study={"place": 1, "parents": [0]}),
        started(0),
    ]
    history = read_history(write(tmp_path / "a", *notes))
    assert history.sampler == {"place": 1, "parents": [0]}
    assert [trial.attributes for trial in history.trials.values()] == [{"generation": 0}, {}]


def test_a_trial_of_before_has_nothing_noted_by_a_sampler(tmp_path: Path) -> None:
    key = config_hash({"adapter": "lora"}).encode()
    line = b'{"time":1.0,"kind":"started","trial":0,"params":{"adapter":"lora"},"hash":"%s","joined":null}\n'
    line %= key
    folder = without_checksums(write(tmp_path / "a"))
    (folder / LEDGER).write_bytes((folder / LEDGER).read_bytes() + line)
    history = read_history(folder)
    assert (history.sampler, history.trials[0].attributes, history.ends) == ({}, {}, {})


def test_the_order_of_ends_is_kept_and_a_trial_that_starts_again_is_out_of_it(tmp_path: Path) -> None:
    def started(trial: int) -> StartedRecord:
        return StartedRecord(trial=trial, params={}, hash=str(trial))

    def ended(trial: int, outcome: Outcome = Outcome.COMPLETED) -> EndedRecord:
        return EndedRecord(trial=trial, outcome=outcome)

    lines: list[Record] = [*map(started, range(4)), ended(2), ended(3, Outcome.FAILED), ended(0), ended(1)]
    assert list(read_history(write(tmp_path / "a", *lines)).ends) == [2, 3, 0, 1]
    again = [*lines, started(3)]
    assert list(read_history(write(tmp_path / "b", *again)).ends) == [2, 0, 1]
    assert list(read_history(write(tmp_path / "c", *again, ended(3))).ends) == [2, 0, 1, 3]


def test_a_score_is_replaced_by_a_later_one_and_a_resumed_trial_ends_the_scoring(tmp_path: Path) -> None:
    again = ScoredRecord(trial=None, metrics={"map": 0.1})
    history = read_history(write(tmp_path / "a", *ONE_OF_EACH, again, STARTED))
    assert history.scores[None] == again
    assert history.scoring is None


def test_a_record_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "a", HEADER) as ledger:
        ledger.append(STARTED)
        assert list(read_records(tmp_path / "a")) == [HEADER, STARTED]


def test_nan_and_infinities_are_written_as_null(tmp_path: Path) -> None:
    bad = ReportRecord(trial=0, epoch=1, step=1, objective=math.nan, metrics={"map": math.inf, "loss": 1.0})
    folder = write(tmp_path / "a", STARTED, bad)
    for line in (folder / LEDGER).read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (seen,) = read_history(folder).trials[0].reports
    assert (seen.objective, seen.metrics) == (None, {"map": None, "loss": 1.0})


@pytest.mark.parametrize(
    "torn", [b"{", b'{"time":1.0,"kind":"rep', b'{"kind": "closed", "reason": "finished"}']
)
def test_a_torn_last_line_is_passed_over_and_cut_off_when_opened(tmp_path: Path, torn: bytes) -> None:
    folder = write(tmp_path / "a", STARTED)
    with (folder / LEDGER).open("ab") as file:
        file.write(torn)
    assert list(read_records(folder)) == [HEADER, STARTED]
    with Ledger.open(folder) as ledger:
        ledger.append(report(1, 0.5))
    assert [r.kind for r in read_records(folder)] == ["experiment", "started", "report"]


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 2"), ('{"kind": "dream"}', "dream"), ('{"kind": "built", "trial": "0"}', "line 2")],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    folder = write(tmp_path / "a")
    with (folder / LEDGER).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(LedgerError, match=said):
        read_history(folder)


def test_fields_of_a_newer_version_are_passed_over_and_a_newer_schema_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    header = {"kind": "experiment", "schema": 1, "name": "a", "file": "", "experiment": {}, "mood": "good"}
    (folder / LEDGER).write_text(json.dumps(header) + "\n")
    assert read_history(folder).name == "a"
    (folder / LEDGER).write_text(json.dumps(header | {"schema": 2}) + "\n")
    with pytest.raises(LedgerError, match="schema version 2"):
        read_history(folder)


def test_a_record_that_does_not_begin_with_the_experiment_is_refused(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_bytes(with_checksum(STARTED.model_dump_json().encode()))
    with pytest.raises(LedgerError, match="does not begin with the experiment"):
        read_history(tmp_path)


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot read"):
        read_history(tmp_path)
    with pytest.raises(LedgerError, match="no experiment"):
        Ledger.open(tmp_path)


def test_later_reports_replace_those_from_the_same_epoch_on(tmp_path: Path) -> None:
    records = [STARTED, report(1, 0.1), report(2, 0.2), report(3, 0.3), STARTED, report(2, 0.25)]
    trial = read_history(write(tmp_path / "a", *records)).trials[0]
    assert [(r.epoch, r.objective) for r in trial.reports] == [(1, 0.1), (2, 0.25)]


def test_a_trial_that_starts_again_has_not_ended(tmp_path: Path) -> None:
    ended = EndedRecord(trial=0, outcome=Outcome.INTERRUPTED)
    closed = ClosedRecord(reason=Ending.INTERRUPTED)
    history = read_history(write(tmp_path / "a", STARTED, report(1, 0.1), ended, closed, STARTED))
    assert history.trials[0].outcome is None
    assert history.trials[0].value == 0.1
    assert history.closed is None


def test_a_line_before_its_trial_started_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="before it started"):
        read_history(write(tmp_path / "a", report(1, 0.1)))


# --- one writer, and what prevents writing ----------------------------------------------------


def test_there_is_one_writer_and_it_can_be_seen(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    assert not driver_alive(folder)
    with Ledger.create(folder, HEADER):
        assert driver_alive(folder)
        with pytest.raises(LedgerError, match="another driver is running a"):
            Ledger.open(folder)
    assert not driver_alive(folder)
    Ledger.open(folder).close()


def test_an_existing_experiment_is_not_overwritten(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", STARTED)
    before = (folder / LEDGER).read_bytes()
    with pytest.raises(StorageError, match="already exists"):
        Ledger.create(folder, HEADER)
    assert (folder / LEDGER).read_bytes() == before


def test_a_folder_of_something_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StorageError, match="already exists"):
        Ledger.create(tmp_path, HEADER)


@pytest.mark.parametrize("storage", [Path(__file__), Path("/proc")])
def test_storage_that_cannot_hold_a_folder_is_an_error(storage: Path) -> None:
    with pytest.raises(StorageError, match="cannot write the record"):
        Ledger.create(storage / "a", HEADER)


def test_a_full_disk_raises_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with Ledger.create(folder, HEADER) as ledger:
        ledger.append(STARTED)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / LEDGER).stat().st_size + 20, hard))
        try:
            with pytest.raises(StorageError, match="cannot write the record"):
                ledger.append(report(1, 0.5))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(read_records(folder)) == [HEADER, STARTED]
        ledger.append(report(2, 0.5))  # the half-written line is gone
    assert [r.kind for r in read_records(folder)] == ["experiment", "started", "report"]


def test_experiments_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    storage = tmp_path / "experiments"
    for name in ("b", "a"):
        write(storage / name)
    assert [p.name for p in list_experiments(storage)] == ["a", "b"]
    assert find_experiment("a", storage) == storage / "a"
    assert find_experiment(str(storage / "b"), tmp_path) == storage / "b"
    with pytest.raises(StorageError, match=r"no experiment 'c' in .*; available: a, b"):
        find_experiment("c", storage)
    assert list_experiments(tmp_path / "nowhere") == []


def test_a_folder_that_holds_the_logs_of_a_failed_launch_alone_is_as_good_as_empty(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in LEFTOVERS:
        (folder / name).write_text("")
    Ledger.create(folder, ExperimentRecord(name="mine", file="", experiment={})).close()
    assert not (folder / "driver.log").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(StorageError, match="already exists"):
        Ledger.create(tmp_path / "other", ExperimentRecord(name="other", file="", experiment={}))
