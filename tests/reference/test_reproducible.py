"""The same configuration and seed on the same machine: the same metrics to the bit, alone and in a sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import adaptertune
from marks import exhaustive
from typer.testing import CliRunner

from trainables.training.checkpoint import read_weights
from tuning.cli import app as cli
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Outcome

DATA = {"embedded": {"train": 24, "validation": 8, "test": 4}}
AUGMENT = {"horizontal_flip": 0.5, "crop": 0.8, "brightness": 0.2}
Run = Callable[..., None]


def _file(folder: Path, **parts: Any) -> Path:
    """An experiment file (JSON is YAML)."""
    given = {
        "name": "again",
        "task": "segmentation",
        "objective": {"metric": "dice"},
        "data": DATA,
        "trial": {"epochs": 2, "batch_size": 8, "augment": AUGMENT},
    }
    path = folder / f"{parts.get('name', 'again')}.yaml"
    path.write_text(json.dumps(given | parts))
    return path


def _curve(folder: Path) -> list[dict[str, Any]]:
    """What `train` left: its reports less their cost."""
    lines = (folder / "reports.jsonl").read_text().splitlines()
    return [_metrics(json.loads(line)) for line in lines]


def _metrics(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("epoch", "step", "objective", "metrics", "samples")}


def _same_weights(one: Path, other: Path) -> bool:
    first, second = read_weights(one).tensors, read_weights(other).tensors
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture
def train(tmp_path: Path) -> Run:
    """`adaptertune train` in this process."""

    def invoke(*arguments: str) -> None:
        environment = {"ADAPTERTUNE_STORAGE": str(tmp_path / "experiments")}
        result = CliRunner().invoke(cli.app, ["train", *arguments], env=environment)
        assert result.exit_code == 0, result.output + repr(result.exception)

    return invoke


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_train_twice_gives_one_curve_and_one_set_of_weights(train: Run, tmp_path: Path, task: str) -> None:
    trial = {"adapter": "lora", "lora": {"dropout": 0.3}, "epochs": 2, "batch_size": 8, "augment": AUGMENT}
    metric = {"segmentation": "dice", "detection": "map"}[task]
    file = _file(tmp_path, task=task, objective={"metric": metric}, trial=trial)
    for name in ("one", "two"):
        train(str(file), "--into", str(tmp_path / name))
    train(str(file), "--into", str(tmp_path / "other"), "--set", "trial.seed=1")
    assert len(_curve(tmp_path / "one")) == 2
    assert _curve(tmp_path / "one") == _curve(tmp_path / "two")
    assert _same_weights(tmp_path / "one" / "best.ckpt", tmp_path / "two" / "best.ckpt")
    assert _curve(tmp_path / "one") != _curve(tmp_path / "other"), "the seed reaches the training"


def test_what_came_before_in_the_process_does_not_matter(train: Run, tmp_path: Path) -> None:
    """Study B left torch's generator unseeded: a second run in one process differed from a fresh one."""
    file = _file(tmp_path, trial={"adapter": "loha", "epochs": 1, "batch_size": 8, "augment": AUGMENT})
    torch.manual_seed(5)
    train(str(file), "--into", str(tmp_path / "one"))
    torch.rand(1000)
    train(str(file), "--into", str(tmp_path / "two"))
    assert _curve(tmp_path / "one") == _curve(tmp_path / "two")


SPACE = {
    "adapter": {"choice": ["none", "lora", "adalora", "serial_lora", "localized_lora"]},
    "freezing": [
        {"choice": ["full"], "when": {"adapter": ["none"]}},
        {"choice": ["frozen"], "when": {"adapter": ["lora", "serial_lora", "localized_lora"]}},
        {"choice": ["unfreeze_at"], "when": {"adapter": ["adalora"]}},
    ],
    "unfreeze_epoch": [{"choice": [1], "when": {"freezing": ["unfreeze_at"]}}],
}


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("task", [exhaustive("segmentation"), "detection"])
def test_a_trial_of_a_sweep_is_repeated_by_train_from_it_to_the_bit(
    train: Run, tmp_path: Path, task: str
) -> None:
    """Several kinds of trial to a worker; alone, the first in a fresh process, each gives its curve again."""
    metric = {"segmentation": "dice", "detection": "map"}[task]
    file = _file(
        tmp_path, name="sweep", task=task, objective={"metric": metric}, space=SPACE, search={"grid": {}}
    )
    storage = tmp_path / "experiments"
    adaptertune(tmp_path, "launch", str(file), "--storage", str(storage))
    history = read_history(storage / "sweep")
    assert [t.outcome for t in history.trials.values()] == [Outcome.COMPLETED] * 5
    assert {t.params["adapter"] for t in history.trials.values()} == set(SPACE["adapter"]["choice"])  # type: ignore[call-overload]
    for number, trial in history.trials.items():
        into = tmp_path / f"alone-{number}"
        again = ["--from", f"sweep:{number}", "--into", str(into), "--storage", str(storage)]
        if number == 0:
            adaptertune(tmp_path, "train", *again)
        else:
            train(*again)
        assert _curve(into) == [_metrics(report.model_dump()) for report in trial.reports]
        assert len(trial.reports) == 2
        held = storage / "sweep" / "trials" / f"{number:04d}" / "best.ckpt"
        assert _same_weights(into / "best.ckpt", held)
