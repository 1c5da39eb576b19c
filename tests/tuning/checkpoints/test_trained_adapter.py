from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from recorded import FLOORS, LORA, TRIALS, Told, experiment, write

from trainables.errors import CheckpointError, StorageError
from trainables.specs.adapters import Adapter
from tuning.checkpoints import trained_adapter as trained
from tuning.ledger.ledger import Ledger
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import RemovedRecord, ScoredRecord
from tuning.ledger.storage import Reference


@pytest.fixture
def storage(tmp_path: Path, run: Path) -> Path:
    """An experiment in which trials 0 and 2 kept weights, and a run of `train`."""
    folder = write(tmp_path / "digits")
    for number in (0, 2):
        (folder / "trials" / f"{number:04d}").mkdir(parents=True)
        shutil.copy(run / "best.ckpt", folder / "trials" / f"{number:04d}")
    shutil.copytree(run, tmp_path / "trained" / "one")
    return tmp_path


# --- names ------------------------------------------------------------------------------------


def test_a_name_is_a_trial_an_experiment_or_a_folder(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = storage / "digits"
    assert trained.find_trained("digits:2", storage) == Reference(folder, 2)
    assert trained.find_trained("digits:best", storage) == Reference(folder, "best")
    assert trained.find_trained("digits", storage) == Reference(folder)
    assert trained.find_trained(str(folder), storage) == Reference(folder)
    assert trained.find_trained("one", storage) == storage / "trained" / "one"
    monkeypatch.chdir(storage / "trained")
    assert trained.find_trained("one", storage / "elsewhere") == storage / "trained" / "one"


def test_an_unknown_name_says_what_there_is(storage: Path) -> None:
    with pytest.raises(StorageError) as raised:
        trained.find_trained("digitz:2", storage)
    assert "available: digits" in str(raised.value)
    assert f"{storage / 'trained'}: one" in str(raised.value)


# --- trials -----------------------------------------------------------------------------------


def test_a_trial_is_its_best_report_with_its_weights(storage: Path) -> None:
    found = trained.adapter_of_trial(storage / "digits", 0)
    assert found.title == "digits, trial 0"
    assert found.weights == storage / "digits" / "trials" / "0000" / "best.ckpt"
    assert (found.epoch, found.metrics["dice"]) == (5.0, 0.75)
    assert found.metrics["loss"] == pytest.approx(0.25)
    assert found.config.adapter is Adapter.LORA
    assert found.config.section.rank == 8
    assert found.classes[:2] == ("background", "0")
    assert found.counts == {"train": 160, "validation": 32}
    assert found.reproduce.startswith("adaptertune train --from ")
    assert found.reproduce.endswith("digits:0")
    assert "rank: 8" in found.yaml
    assert (found.test, found.domains) == ({}, {})


def test_a_reused_trial_has_the_weights_of_the_one_that_ran(storage: Path) -> None:
    assert TRIALS[6].outcome is Outcome.REUSED
    assert trained.adapter_of_trial(storage / "digits", 6) == trained.adapter_of_trial(storage / "digits", 0)


def test_scores_on_test_images_come_along(storage: Path) -> None:
    with Ledger.open(storage / "digits") as ledger:
        ledger.append(
            ScoredRecord(trial=0, epoch=5.0, metrics={"dice": 0.7}, domains={"dark": {"dice": 0.3}})
        )
    found = trained.adapter_of_trial(storage / "digits", 0)
    assert (found.test, found.domains) == ({"dice": 0.7}, {"dark": {"dice": 0.3}})


def test_floors_and_whether_it_has_collapsed_come_along_from_a_trial_and_from_a_run(storage: Path) -> None:
    low, high = (-0.1, 0.1), (0.1, 0.2)
    told = [Told(LORA, (0.31, 0.5), above_floor=(low, high)), Told(LORA, (0.31,), above_floor=(low,))]
    folder = write(storage / "worth", told, floors=FLOORS)
    for number in (0, 1):
        (folder / "trials" / f"{number:04d}").mkdir(parents=True)
        shutil.copy(storage / "digits" / "trials" / "0000" / "best.ckpt", folder / "trials" / f"{number:04d}")
    found, lost = (trained.adapter_of_trial(folder, number) for number in (0, 1))
    assert found.floors == lost.floors == FLOORS
    assert (found.collapsed, lost.collapsed) == (False, True)
    assert trained.adapter_of_trial(storage / "digits", 0).collapsed is None  # recorded without
    run = trained.adapter_of_folder(storage / "trained" / "one")
    assert set(run.floors) == {"validation", "test"}
    assert run.collapsed is False


def test_a_trial_without_weights_says_which_have_some(storage: Path) -> None:
    with pytest.raises(StorageError) as raised:
        trained.adapter_of_trial(storage / "digits", 3)
    said = str(raised.value)
    assert "trial 3 of digits left no weights" in said
    assert "the loss is not finite" in said
    assert "trials with weights: 0, 2" in said
    assert "train --from" in said
    with pytest.raises(StorageError, match="has no trial 99; it has 7"):
        trained.adapter_of_trial(storage / "digits", 99)
    bare = write(storage / "bare", (Told(LORA, (0.4,)),))
    with pytest.raises(StorageError, match="no trial has any"):
        trained.adapter_of_trial(bare, 0)


def test_weights_on_a_store_are_found_and_those_the_budget_took_are_named(tmp_path: Path, run: Path) -> None:
    to = f"file://{tmp_path}/store"
    told = [Told(LORA, (0.4, 0.6)), Told(LORA, (0.3,), Outcome.PRUNED), Told(LORA, (0.5,))]
    folder = write(tmp_path / "digits", told, of=experiment(checkpoints={"to": to}))
    for number in (0, 2):
        (tmp_path / "store" / "digits" / "trials" / f"{number:04d}").mkdir(parents=True)
        shutil.copy(run / "best.ckpt", tmp_path / "store" / "digits" / "trials" / f"{number:04d}")
    with Ledger.open(folder) as ledger:
        ledger.append(RemovedRecord(trial=1, files=["best.ckpt"], bytes=9))
    found = trained.adapter_of_trial(folder, 2)
    assert str(found.weights) == f"{to}/digits/trials/0002/best.ckpt"
    assert found.load("cpu").classes == found.classes == trained.adapter_of_folder(run).classes
    with pytest.raises(StorageError, match=r"weights of trial 1 of digits were removed .*: 0, 2\. Train it"):
        trained.adapter_of_trial(folder, 1)


def test_damaged_weights_are_named(storage: Path) -> None:
    path = storage / "digits" / "trials" / "0000" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"0000/best.ckpt: the checkpoint is damaged"):
        trained.adapter_of_trial(storage / "digits", 0)


# --- runs of train ----------------------------------------------------------------------------


def test_a_run_of_train_knows_what_it_needs(run: Path) -> None:
    found = trained.adapter_of_folder(run)
    assert found.title == "one in one"
    assert found.weights == run / "best.ckpt"
    assert found.epoch == 1.0
    assert 0 < found.metrics["dice"] < 1
    assert found.counts == {"train": 16, "validation": 4, "test": 4}
    versions = found.environment["versions"]
    assert isinstance(versions, dict)
    assert versions["torch"] == version("torch")
    assert found.reproduce == f"adaptertune train {run / 'experiment.yaml'}"


def test_its_model_is_the_one_that_was_trained(run: Path) -> None:
    from trainables.training.checkpoint import read_weights

    found = trained.adapter_of_folder(run)
    model = found.load("cpu")
    held = read_weights(run / "best.ckpt")
    parameters = dict(model.model.named_parameters())
    assert model.config == held.config == found.config
    assert held.tensors
    for name, tensor in held.tensors.items():
        if name in parameters:
            assert torch.equal(parameters[name], tensor)


def test_a_run_that_was_killed_early_says_so(run: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(run, torn)
    with (torn / "reports.jsonl").open("a") as file:
        file.write('{"epoch": 2.0, "metr')
    assert trained.adapter_of_folder(torn).epoch == 1.0
    (torn / "reports.jsonl").write_text("nonsense\n")
    with pytest.raises(StorageError, match=r"reports.jsonl cannot be read"):
        trained.adapter_of_folder(torn)
    (torn / "best.ckpt").unlink()
    with pytest.raises(StorageError, match="before its first report"):
        trained.adapter_of_folder(torn)


def test_a_report_that_diverged_does_not_hide_the_best(run: Path, tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    shutil.copytree(run, lost)
    with (lost / "reports.jsonl").open("a") as file:
        file.write('{"epoch": 2.0, "metrics": {}, "objective": null}\n')
    found = trained.adapter_of_folder(lost)
    assert (found.epoch, found.metrics) == (1.0, trained.adapter_of_folder(run).metrics)


def test_the_base_of_an_experiment_has_no_weights(run: Path) -> None:
    base = trained.pretrained_baseline(trained.adapter_of_folder(run).experiment)
    assert base.weights is None
    assert base.config.adapter is Adapter.NONE
    with pytest.raises(StorageError, match="has no trained weights"):
        base.load()
