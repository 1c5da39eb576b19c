from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, Slow, Sweeps, experiment

from cluster.usable_cpus import count_usable_cpus
from trainables.errors import ClusterError, DataError, ExperimentFileError, StorageError
from trainables.specs.job import Failure, TrialJob
from trainables.specs.workload import Workload
from tuning.ledger.driver_state import driver_alive
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import ClosedRecord, PreparedRecord, Record, ReportRecord, StartedRecord
from tuning.run.driver import LaunchResult
from tuning.run.launch import launch_experiment
from tuning.tables.parquet_parts import valid_parts

ASHA = {"asha": {"grace_epochs": 1.0, "reduction_factor": 3.0, "rule": "threshold"}}


pytestmark = pytest.mark.usefixtures("ray_once")


def outcomes(result: LaunchResult) -> dict[int, Outcome | None]:
    return {n: t.outcome for n, t in result.history.trials.items()}


def test_which_images_are_trained_and_tested_on_is_kept_with_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path / "cache"))
    data = {
        "embedded": {"train": 8, "validation": 3, "test": 2},
        "train_fraction": 0.25,
        "domains": {"rough": {"embedded": "textured"}},
    }
    result = launch_experiment(
        experiment(data=data, search={"trials": 1}, scoring={"trials": "none"}),
        tmp_path / "experiments",
        trainable=Scripted,
    )
    kept = json.loads((result.folder / "splits.json").read_text())
    tested = ["test-00000", "test-00001"]
    assert len(kept["train"]) == 2
    assert set(kept["train"]) < {f"train-{i:05d}" for i in range(8)}
    assert kept["test"] == tested
    assert kept["domains"]["rough"]["test"] == tested
    assert kept["domains"]["rough"]["validation"] == kept["validation"]


class ByPid(Scripted):
    """Reports its process and its configuration."""

    def step(self) -> dict[str, Any]:
        result = super().step()
        result["report"]["metrics"]["pid"] = float(os.getpid())
        result["report"]["metrics"]["plain"] = float(
            self.job == TrialJob.model_validate_json(self.job.model_dump_json())
        )
        assert isinstance(self.trial.learning_rate, float)
        return result


def test_a_sweep_runs_to_its_end_and_the_record_holds_it(
    sweep: Sweeps, capfd: pytest.CaptureFixture[str]
) -> None:
    home = Path.home() / "ray_results"
    littered = list(home.glob("*"))
    result = sweep(ByPid, search={"trials": 12}, scheduler=ASHA)
    out, err = capfd.readouterr()
    assert out + err == ""

    assert result.outcome is Ending.FINISHED
    counts = Counter(outcomes(result).values())
    assert not [t.ended for t in result.history.trials.values() if t.outcome is Outcome.FAILED]
    assert set(counts) == {Outcome.COMPLETED, Outcome.PRUNED}
    assert sum(counts.values()) == 12
    best = max(result.history.trials.values(), key=lambda t: t.value or 0.0)
    assert best.outcome is Outcome.COMPLETED
    assert [r.epoch for r in best.reports] == list(range(1, 10))
    assert best.parameters == {"adapter": 10, "head": 5, "backbone": 0, "total": 100}
    assert result.history.baseline is not None

    # The file, the history in memory and the listener have the same records in order.
    assert read_history(result.folder) == result.history
    assert list(read_records(result.folder))[1:] == sweep.events
    assert isinstance(sweep.events[0], PreparedRecord)
    assert sweep.events[0].fingerprint == "f00"
    assert isinstance(sweep.events[-1], ClosedRecord)
    header = result.history.header
    assert header.environment["versions"]["ray"]  # type: ignore[index, call-overload]
    assert not driver_alive(result.folder)

    # Ray's files are in another folder, which is removed; its loggers and snapshots are off.
    views = {"tables", "study.journal"}
    ours = {"ledger.jsonl", "driver.lock", "ray.log", "attempts", "starts"} | views
    assert {p.name for p in result.folder.iterdir()} <= ours
    assert valid_parts(result.folder)[-1].end == (result.folder / "ledger.jsonl").stat().st_size
    assert list(home.glob("*")) == littered

    # Actors are reused: no more processes than trials at once. Configurations are plain values.
    reports = [r for t in result.history.trials.values() for r in t.reports]
    assert len({r.metrics["pid"] for r in reports}) <= (os.cpu_count() or 1)
    assert {r.metrics["plain"] for r in reports} == {1.0}

    # The name is taken now.
    before = (result.folder / "ledger.jsonl").read_bytes()
    with pytest.raises(StorageError) as refused:
        sweep()
    for way in (f"adaptertune status {result.folder}", f"best {result.folder}", "sweep-2 (--name"):
        assert way in str(refused.value)
    assert (result.folder / "ledger.jsonl").read_bytes() == before


@pytest.mark.slow
def test_as_many_trials_run_at_once_as_the_cluster_or_the_file_says(sweep: Sweeps) -> None:
    def most_at_once(result: LaunchResult) -> int:
        now = most = 0
        for record in read_records(result.folder):
            now += (record.kind == "started") - (record.kind == "ended")
            most = max(most, now)
        return most

    everything = sweep(Slow, name="all", search={"trials": 5}, trial={"epochs": 3})
    assert most_at_once(everything) == min(5, count_usable_cpus())
    one = sweep(
        Slow, name="one", search={"trials": 3}, trial={"epochs": 3}, resources={"concurrent": 1, "cpus": 1.0}
    )
    assert most_at_once(one) == 1


class Troubled(Scripted):
    """Each batch size fails in a different way."""

    def step(self) -> dict[str, Any]:
        if self.trial.batch_size == 3:
            raise RuntimeError("weights of the wrong shape")
        if self.trial.batch_size == 4 and self.reports == 1:
            os._exit(1)
        return super().step()

    def value(self, epoch: float) -> float:
        return float("nan") if self.trial.batch_size == 2 and epoch >= 2 else super().value(epoch)

    def failure(self, epoch: float) -> Failure | None:
        if self.trial.batch_size == 1:
            return Failure(reason="out of memory with a single image")
        return None


def test_a_failing_trial_fails_alone_with_its_reason(sweep: Sweeps) -> None:
    result = sweep(
        Troubled,
        space={"batch_size": {"choice": [0, 1, 2, 3, 4, 5]}},
        search={"grid": {}},
        trial={"epochs": 3},
        resources={"concurrent": 1},
    )
    assert result.outcome is Ending.FINISHED
    said = {
        t.params["batch_size"]: (t.outcome, t.ended.reason if t.ended else "")
        for t in result.history.trials.values()
    }
    assert said[0][0] is Outcome.FAILED  # no such configuration
    assert "batch_size" in str(said[0][1])
    assert said[1] == (Outcome.FAILED, "out of memory with a single image")
    assert said[2] == (Outcome.DIVERGED, "the objective is nan")
    assert said[3] == (Outcome.FAILED, "RuntimeError: weights of the wrong shape")
    assert said[4][0] is Outcome.FAILED
    assert "worker process died" in str(said[4][1])
    assert said[5] == (Outcome.COMPLETED, None)


class DiesOnce(Scripted):
    """Dies in its second report, unless a file says that it did before."""

    def step(self) -> dict[str, Any]:
        note = self.job.experiment / "died"
        if self.reports == 1 and not note.exists():
            note.touch()
            os._exit(1)
        return super().step()


def test_a_trial_whose_worker_died_is_tried_again_where_the_file_says_so(sweep: Sweeps) -> None:
    result = sweep(DiesOnce, search={"trials": 1}, trial={"epochs": 3}, retries=1)
    assert outcomes(result) == {0: Outcome.COMPLETED}
    assert [r.epoch for r in result.history.trials[0].reports] == [1, 2, 3]
    assert sum(isinstance(e, StartedRecord) for e in sweep.events) == 2


class OnAnUnfitNode(Scripted):
    """Its second trial is placed on a node that can run no trials; see `cluster.ray_worker`."""

    def failure(self, epoch: float) -> Failure | None:
        unfit = Failure(reason="node n7 does not see /shared/sweep", unfit=True)
        return unfit if self.job.trial == 1 else None


def test_a_node_that_can_run_no_trial_ends_the_sweep_and_blames_none(sweep: Sweeps) -> None:
    with pytest.raises(ClusterError, match=r"node n7 does not see /shared/sweep\. .*`adaptertune resume`"):
        sweep(OnAnUnfitNode, search={"trials": 4}, resources={"concurrent": 1})
    history = read_history(sweep.storage / "sweep")
    assert history.closed is not None
    assert history.closed.reason is Ending.FAILED
    assert {n: t.outcome for n, t in history.trials.items()} == {
        0: Outcome.COMPLETED,
        1: Outcome.INTERRUPTED,
    }


def test_a_full_disk_ends_the_sweep_with_a_plain_error_and_loses_nothing(sweep: Sweeps) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ledger = sweep.storage / "sweep" / "ledger.jsonl"

    def fill(record: Record) -> None:
        if isinstance(record, ReportRecord) and record.epoch == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.stat().st_size + 10, hard))

    try:
        with pytest.raises(StorageError, match="what was recorded so far is kept"):
            sweep(also=fill, search={"trials": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(read_records(ledger.parent))[1:] == sweep.events
    assert not driver_alive(ledger.parent)


# --- what is refused --------------------------------------------------------------------------


def test_data_that_cannot_be_prepared_leaves_the_name_free(tmp_path: Path) -> None:
    def broken(_: Workload) -> Path:
        raise DataError("img_3.png cannot be read")

    with pytest.raises(DataError, match="img_3"):
        launch_experiment(experiment(), tmp_path, trainable=Scripted, prepare=broken)
    assert not (tmp_path / "sweep").exists()


def test_a_background_launch_that_fails_keeps_its_log_and_leaves_the_name_free(
    tmp_path: Path, prepared: Path
) -> None:
    log = tmp_path / "sweep" / "driver.log"

    def broken(_: Workload) -> Path:
        log.write_text("what it said")  # as `detach` has it
        raise DataError("img_3.png cannot be read")

    with pytest.raises(DataError):
        launch_experiment(experiment(), tmp_path, trainable=Scripted, prepare=broken)
    assert [path.name for path in log.parent.iterdir()] == ["driver.log"]
    assert log.read_text() == "what it said"
    again = launch_experiment(
        experiment(search={"trials": 1}), tmp_path, trainable=Scripted, prepare=lambda _: prepared
    )
    assert again.outcome is Ending.FINISHED
    assert not log.exists()


def test_a_class_that_the_data_lacks_is_refused_before_any_trial(sweep: Sweeps) -> None:
    meta = json.loads((sweep.prepared / "meta.json").read_text())
    (sweep.prepared / "meta.json").write_text(json.dumps(meta | {"classes": ["horse", "cat"]}))
    with pytest.raises(DataError, match=r"objective\.metric map/zebra: there is no class 'zebra'.*horse"):
        sweep(objective={"metric": "map/zebra"})
    assert not (sweep.storage / "sweep").exists()
    assert [record.kind for record in sweep.events] == ["closed"]
    assert sweep(objective={"metric": "map/cat"}, search={"trials": 1}).outcome is Ending.FINISHED


@pytest.mark.parametrize(
    ("needs", "lower"),
    [
        ({"cpus": 4096.0}, r"lower resources\.cpus$"),
        ({"gpus": 64.0}, r"lower resources\.cpus or resources\.gpus$"),
        ({"memory_gb": 1e6}, r"lower resources\.cpus or resources\.memory_gb$"),
    ],
)
def test_resources_that_no_machine_has_are_refused(
    sweep: Sweeps, needs: dict[str, float], lower: str
) -> None:
    with pytest.raises(StorageError, match=lower):
        sweep(resources=needs)
    assert not (sweep.storage / "sweep").exists()


def test_storage_that_cannot_be_written_is_said_so(prepared: Path) -> None:
    with pytest.raises(StorageError, match="cannot write the record"):
        launch_experiment(experiment(), Path("/proc"), trainable=Scripted, prepare=lambda _: prepared)


def test_an_experiment_without_a_space_is_refused(sweep: Sweeps) -> None:
    with pytest.raises(ExperimentFileError, match="nothing to search"):
        sweep(space={})
    assert not sweep.storage.exists()


def test_the_sweep_is_imported_without_torch_ray_or_optuna() -> None:
    code = "import sys, tuning.run.launch; print({'torch', 'ray', 'optuna'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
