"""`launch` and `resume`: their results, errors and files. Trials replay curves."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from python_sweeps import WRITTEN
from scripted import Scripted

import adaptertune
from trainables.run_folder import CONTROL
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Ending, Outcome

pytestmark = pytest.mark.usefixtures("users_ray")
Gives = Callable[[type[Any]], None]


class Failing(Scripted):
    def failure(self, epoch: float) -> dict[str, str] | None:
        return {"outcome": "failed", "reason": "out of <memory>"}


class Long(Scripted):
    """Takes half a minute with these epochs, unless it is stopped."""

    pause_s = 0.5


EPOCHS = {"epochs": 60}


def when_reported(folder: Path, then: Callable[[], None]) -> None:
    """Calls `then` from another thread once a trial has reported."""

    def wait() -> None:
        ledger = folder / LEDGER
        while not ledger.is_file() or '"report"' not in ledger.read_text():
            time.sleep(0.05)
        then()

    threading.Thread(target=wait, daemon=True).start()


def test_a_dict_is_launched_and_its_results_are_what_open_gives(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    results = adaptertune.launch(WRITTEN, trials=2, trial={"epochs": 2}, name="mine", progress=False)
    assert results == adaptertune.open("mine")
    assert isinstance(results, adaptertune.Results)
    assert (results.names, results.state, len(results.trials)) == (("mine",), "finished", 2)
    assert set(results.trials["epochs"]) == {2}
    assert results.folders == (storage / "mine",)
    out = capsys.readouterr().out
    assert "trial 0 completed" in out
    assert "\x1b" not in out
    assert ray.is_initialized()  # the user had started it
    assert "name: sweep" in read_history(storage / "mine").header.file


@pytest.mark.slow
def test_an_experiment_value_and_a_file_are_launched_too(storage: Path, tmp_path: Path) -> None:
    asked = adaptertune.load(WRITTEN, name="value", trials=1)
    assert adaptertune.launch(asked, progress=False).state == "finished"
    file = tmp_path / "file.yaml"
    file.write_text(asked.source_text)
    other = tmp_path / "elsewhere"
    results = adaptertune.launch(file, trials=1, storage=other, progress=False)
    assert results.folders == (other / "sweep",)


def test_the_handlers_of_signals_are_restored(storage: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    adaptertune.launch(WRITTEN, trials=1, progress=False)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_what_is_wrong_is_reported_before_anything_is_made(storage: Path) -> None:
    with pytest.raises(adaptertune.AdaptertuneError, match="did you mean 'trials'"):
        adaptertune.launch(WRITTEN, trails=2)  # type: ignore[call-arg]
    with pytest.raises(adaptertune.ExperimentFileError, match=r"set +trial\.epochz"):
        adaptertune.launch(WRITTEN, set={"trial.epochz": 2})
    with pytest.raises(adaptertune.ExperimentFileError, match="has no `space`"):
        adaptertune.launch({**WRITTEN, "space": {}})
    assert not storage.exists()


def test_a_name_that_is_taken_names_the_calls_that_help(storage: Path) -> None:
    adaptertune.launch(WRITTEN, trials=1, progress=False)
    with pytest.raises(adaptertune.StorageError, match=r"adaptertune\.resume\('sweep'\).*name='sweep-2'"):
        adaptertune.launch(WRITTEN, progress=False)


@pytest.mark.slow
def test_a_finished_sweep_is_extended(storage: Path) -> None:
    adaptertune.launch(WRITTEN, trials=1, progress=False)
    results = adaptertune.resume("sweep", trials=2, progress=False)
    assert len(results.trials) == 2
    assert adaptertune.resume(storage / "sweep", progress=False) == results  # nothing is left to do
    with pytest.raises(adaptertune.StorageError, match="has 2 trials already"):
        adaptertune.resume("sweep", trials=1)
    with pytest.raises(adaptertune.AdaptertuneError, match="from 1 on, got '3'"):
        adaptertune.resume("sweep", trials="3")  # type: ignore[arg-type]
    with pytest.raises(adaptertune.AdaptertuneError, match=r"move_data must be a mapping.*got str"):
        adaptertune.resume("sweep", move_data="/old=/new")  # type: ignore[arg-type]
    with pytest.raises(adaptertune.AdaptertuneError, match="it has no data in files"):
        adaptertune.resume("sweep", trials=3, move_data={"/old": "/new"})
    with pytest.raises(adaptertune.StorageError, match="available: sweep"):
        adaptertune.resume("sweeep")
    with pytest.raises(adaptertune.StorageError, match="not one of its trials"):
        adaptertune.resume("sweep:1")


@pytest.mark.slow
def test_a_sweep_without_any_value_is_an_error_that_has_the_results(storage: Path, trained_by: Gives) -> None:
    trained_by(Failing)
    with pytest.raises(adaptertune.NoResultsError, match="no trial has a value") as caught:
        adaptertune.launch(WRITTEN, progress=False)
    assert "trial 0 failed: out of <memory>" in str(caught.value)
    assert "retry_failed=True" in str(caught.value)
    assert caught.value.results == adaptertune.open("sweep")
    assert set(caught.value.results.trials["outcome"]) == {"failed"}
    trained_by(Scripted)
    assert set(adaptertune.resume("sweep", retry_failed=True, progress=False).trials["outcome"]) == {
        "completed"
    }


@pytest.mark.slow
def test_an_interrupted_cell_leaves_a_sweep_that_is_resumed(storage: Path, trained_by: Gives) -> None:
    import ray

    trained_by(Long)
    before = signal.getsignal(signal.SIGINT)
    when_reported(storage / "sweep", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"sweep is interrupted; .*adaptertune\.resume\('sweep'\)"):
        adaptertune.launch(WRITTEN, trial=EPOCHS, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert ray.is_initialized()
    history = read_history(storage / "sweep")
    assert history.closed is not None
    assert history.closed.reason is Ending.INTERRUPTED
    assert {trial.outcome for trial in history.trials.values()} == {Outcome.INTERRUPTED}
    assert adaptertune.open("sweep").state == "interrupted"
    trained_by(Scripted)
    results = adaptertune.resume("sweep", progress=False)
    assert (results.state, set(results.trials["outcome"])) == ("finished", {"completed"})


def test_sigterm_reaches_the_handler_that_was_there(storage: Path, trained_by: Gives) -> None:
    trained_by(Long)
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        when_reported(storage / "sweep", lambda: signal.raise_signal(signal.SIGTERM))
        results = adaptertune.launch(WRITTEN, trial=EPOCHS, progress=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert results.state == "interrupted"


@pytest.mark.slow
def test_a_sweep_that_is_stopped_is_returned(
    storage: Path, trained_by: Gives, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_by(Long)

    def stop() -> None:
        (storage / "sweep" / CONTROL).mkdir(exist_ok=True)
        (storage / "sweep" / CONTROL / "stop").touch()

    when_reported(storage / "sweep", stop)
    results = adaptertune.launch(WRITTEN, trial=EPOCHS, progress=False)
    assert results.state == "interrupted"
    assert "sweep was stopped; " in capsys.readouterr().err


@pytest.mark.slow
def test_a_thread_runs_a_sweep(storage: Path) -> None:
    found: list[Any] = []

    def work() -> None:
        found.append(adaptertune.launch(WRITTEN, trials=1, progress=False))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].state == "finished"


def test_a_ray_whose_workers_see_foreign_packages_is_refused(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.packages.foreign_on_workers", lambda: {"tuning": "/home/me/tuning.py"})
    with pytest.raises(adaptertune.ClusterError, match=r"'tuning' from /home/me/tuning\.py.*ray\.shutdown"):
        adaptertune.launch(WRITTEN, progress=False)
    assert not (storage / "sweep").exists()
