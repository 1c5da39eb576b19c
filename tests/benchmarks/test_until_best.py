"""The benchmark of times to a good configuration: its arithmetic, and peers that do the same as ours."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_commands import printed_by, refusal
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks import until_best
from benchmarks.peers import plain
from benchmarks.peers.quickstart import CHOICES, Configuration, Size, adapt, as_suggested, suggest, train
from benchmarks.peers.until_best_ray import as_configuration
from benchmarks.task16 import FOLDER
from trainables.backbones import EMBEDDED
from trainables.metrics.dice import counts_by_image, mask_metrics
from trainables.metrics.rules import MetricRules
from trainables.preparation import prepare_workload
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training.engine import Engine
from tuning.experiment.load import load_experiment


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(FOLDER, str(EMBEDDED[Task.SEGMENTATION]))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_times_are_those_of_the_first_report_near_the_best_of_all() -> None:
    found = {
        "ours": [(5.0, 0.3), (7.0, 0.694), (9.0, 0.7)],
        "optuna": [(20.0, 0.692), (21.0, 0.693), (30.0, 0.6)],
        "ray": [(40.0, 0.5)],
    }
    assert until_best.times_of(found, 0.01) == {"ours": 7.0, "optuna": 21.0, "ray": math.inf}
    assert until_best.times_of(found, 0.0) == {"ours": 9.0, "optuna": math.inf, "ray": math.inf}


@pytest.mark.parametrize(
    ("peer_s", "ours_s", "expected"),
    [(21.0, 7.0, 3.0), (math.inf, 7.0, math.inf), (7.0, math.inf, 0.0), (math.inf, math.inf, None)],
)
def test_ratio_of_a_program_that_never_gets_there(
    peer_s: float, ours_s: float, expected: float | None
) -> None:
    assert until_best.ratio(peer_s, ours_s) == expected


def test_table_says_who_did_not_get_there() -> None:
    found = {
        seed: {"ours": [(10.0 + seed, 0.7)], "ray": [(22.0 + 2 * seed, 0.7 if seed < 2 else 0.1)]}
        for seed in range(3)
    }
    lines = until_best.table(found, 0.01)
    median, missed = next(line for line in lines if "median" in line), lines[-1]
    assert "11.0 s" in median
    assert "24.0 s" in median
    assert "2.20×" in median
    assert missed == "raw ray tune, ASHA: not reached with 1 of 3 seeds"


def every_choice() -> dict[str, set[tuple[Any, ...]]]:
    """The lists of choices of the peers' space, by parameter."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for adapter in ("none", *CHOICES):

        def choice(key: str, values: list[Any], adapter: str = adapter) -> Any:
            found.setdefault(key.partition(".with")[0], set()).add(tuple(values))
            return adapter if key == "adapter" else values[0]

        def rate(key: str, low: float, high: float) -> float:
            found.setdefault(key, set()).add((low, high))
            return low

        suggest(choice, rate)
    return found


def test_peers_search_the_space_of_the_quickstart() -> None:
    written = load_experiment("quickstart").model_dump(mode="json")["space"]
    assert every_choice() == {
        name: {tuple(one.get("choice") or one["float"]) for one in alternatives}
        for name, alternatives in written.items()
    }


def test_configurations_keep_their_settings_as_optuna_names_them() -> None:
    first = load_experiment("quickstart").model_dump(mode="json")["search"]["first"]
    assert first
    assert [as_configuration(as_suggested(configuration)) for configuration in first] == first


def example(adapter: str) -> Configuration:
    """A configuration with an adapter, the first choice of each of its settings."""
    return suggest(lambda key, values: adapter if key == "adapter" else values[0], lambda key, low, high: low)


@pytest.mark.usefixtures("backbone")
def test_peers_train_as_many_weights_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTERTUNE_CACHE", str(tmp_path))
    experiment = load_experiment("quickstart")
    asked = experiment.workload.model_dump(mode="json")
    asked["data"]["embedded"] |= {"train": 4, "validation": 2, "test": 1}
    asked["data"]["domains"] = {}
    workload = type(experiment.workload).model_validate_json(json.dumps(asked))
    engine = Engine(workload, prepare_workload(workload), device="cpu")
    for adapter in ("none", *CHOICES):
        configuration = example(adapter)
        model = plain.Segmenter()
        adapt(model, configuration, 8)
        state = engine.start(experiment.trial_config(configuration))
        assert weights(model) == weights(state.model), adapter


def weights(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.usefixtures("backbone")
@pytest.mark.parametrize("adapter", ["none", *CHOICES])
def test_peers_train_each_adapter(adapter: str) -> None:
    training, validation = (plain.data(part, 16, 64) for part in (Split.TRAIN, Split.VALIDATION))
    reports: list[tuple[int, float]] = []
    best = train(
        example(adapter), Size(batch=4, epochs=2), training, validation, lambda *r: reports.append(r)
    )
    assert [epoch for epoch, _ in reports] == [1, 2]
    assert best == max(value for _, value in reports)


def test_dice_of_peers_is_ours() -> None:
    class Fixed(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels

    torch.manual_seed(0)
    scores, masks = torch.randn(6, 4, 8, 8), torch.randint(0, 3, (6, 8, 8))
    counts = counts_by_image(scores.argmax(1), masks, 4)
    classes = ("background", "a", "b", "c")
    ours = mask_metrics(counts, classes, MetricRules(background="background"))
    given = TensorDataset(scores, masks)
    assert plain.dice(Fixed(), given, background=False) == pytest.approx(ours["dice"], abs=1e-6)
    assert plain.dice(Fixed(), given) == pytest.approx(ours["dice_with_background"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--seeds", "0"], "--seeds"), (["--within", "1.5"], "--within"), (["--programs", "keras"], "keras")],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refusal(until_best.main, arguments, capsys)


@pytest.mark.exhaustive
@pytest.mark.timeout(2400)
def test_the_whole_command(tmp_path: Path) -> None:
    out = tmp_path / "reports.json"
    sizes = ["--seeds", "1", "--trials", "3", "--epochs", "2", "--train", "32", "--validation", "8"]
    printed = printed_by("benchmarks.until_best", *sizes, "--out", str(out))
    reports = json.loads(out.read_text())["reports"]["0"]
    assert list(reports) == list(until_best.TITLES)
    assert all(3 <= len(each) <= 6 for each in reports.values())
    assert "median" in printed
