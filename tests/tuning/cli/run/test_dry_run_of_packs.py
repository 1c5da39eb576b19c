"""What a dry run says of packs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import experiment
from typer.testing import Result

from trainables.packing.group import group_of
from trainables.specs.pack import Packing, WhyLanes
from trainables.specs.trial import TrialConfig
from tuning.cli.run import dry_run_of_packs
from tuning.cli.run.dry_run_of_packs import pack_lines

SMALL = ("--set", "data.embedded={train: 16, validation: 4, test: 1}", "--set", "trial.batch_size=4")
SPACE = "{adapter: {choice: [none, lora, peft]}, learning_rate: {float: [1e-3, 1e-2]}}"
Asked = list[dict[str, Any]]


@pytest.mark.usefixtures("training")
def test_it_measures_what_packing_gains_and_names_what_trains_alone(run: Callable[..., Result]) -> None:
    parts = ("--set", f"space={SPACE}", "--set", "trial.peft={method: IA3}")
    out = " ".join(run("launch", "quickstart", "--dry-run", "--trials", "40", *SMALL, *parts).stdout.split())
    assert "packing 16 trials at once in a worker (the most there are); " in out
    assert "ms a trial's step" in out
    assert "MB a trial" in out
    assert "alone in their steps: adapter peft may change more than the output of a layer" in out


@pytest.mark.usefixtures("training")
def test_bf16_that_is_slower_on_a_cpu_is_said(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.cli.run.dry_run.MUCH", 0.0)  # however fast this machine is
    given = ("--set", "trial.precision=bf16", "--set", "resources.packing=off")
    out = " ".join(run("launch", "quickstart", "--dry-run", "--trials", "4", *SMALL, *given).stdout.split())
    assert "precision: bf16 is slower on this CPU" in out
    assert "packing off: a worker trains one trial at a time" in out


# --- without measuring ----------------------------------------------------------------------------


def config(**settings: Any) -> TrialConfig:
    return TrialConfig.model_validate({"adapter": "lora", "batch_size": 8} | settings, strict=False)


@pytest.fixture
def asked_of(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the measurement is asked, which finds 8 trials at once."""
    asked_of: Asked = []

    def measured(workload: Any, config: TrialConfig, **asked: Any) -> Packing:
        asked_of.append(asked | {"batch_size": config.batch_size})
        return Packing(group=group_of(config) or "", lanes=asked["asked"] or 8, why=WhyLanes.IMAGES)

    monkeypatch.setattr(dry_run_of_packs, "measure_packing", measured)
    return asked_of


def told(**parts: Any) -> list[str]:
    """The lines for two workers."""
    runs: Any = [
        (config(batch_size=2), SimpleNamespace(error="no such layer")),
        (config(freezing="unfrozen", batch_size=3), SimpleNamespace(error=None)),
        (config(batch_size=4), SimpleNamespace(error=None)),
    ]
    return [line.strip() for line in pack_lines(experiment(**parts), runs, workers=2)]


AUTO = {"packing": "auto"}


@pytest.mark.parametrize(
    ("parts", "most", "second"),
    [
        ({"resources": AUTO, "search": {"random": {}, "trials": 64}}, 32, []),
        (
            {"resources": AUTO, "search": {"trials": 20}},
            3,
            [
                "5 in all at once: a quarter of the trials,"
                " as the search or the scheduler learns from those that have run"
            ],
        ),
        (
            {"resources": AUTO | {"concurrent": 3}, "search": {"trials": 64}},
            2,
            ["3 in all at once, as resources.concurrent says"],
        ),
        (
            {"resources": {"packing": 8}, "search": {"trials": 6}},
            3,
            ["6 in all at once, which are all trials"],
        ),
    ],
)
def test_how_many_run_at_once_in_all(parts: Any, most: int, second: list[str], asked_of: Asked) -> None:
    first, *others = told(**parts)
    assert first.startswith("packing 8 trials at once in a worker")
    assert others == second
    assert [each["batch_size"] for each in asked_of] == [4]  # the first that runs and can be packed
    assert asked_of[0]["most"] == most


def test_where_the_costliest_of_each_kind_train_alone_another_one_is_measured(asked_of: Asked) -> None:
    asked = experiment(
        resources=AUTO,
        search={"trials": 64},
        trial={"batch_size": 5},
        space={"adapter": {"choice": ["lora"]}, "freezing": {"choice": ["frozen", "unfrozen"]}},
    )
    runs: Any = [(config(freezing="unfrozen", batch_size=3), SimpleNamespace(error=None))]
    lines = list(pack_lines(asked, runs, workers=2))
    assert lines[0].startswith("packing 8 trials at once in a worker")
    assert [each["batch_size"] for each in asked_of] == [5]
    assert lines[-1].strip() == "alone in their steps: freezing unfrozen trains a backbone of its own"


def test_where_workers_share_a_gpu_packing_is_off(asked_of: Asked) -> None:
    shared = "packing off, as several workers share a GPU (resources.gpus: 0.5)"
    assert told(resources=AUTO | {"gpus": 0.5}) == [f"{shared}: a worker trains one trial at a time"]
    assert asked_of == []


def test_what_cannot_be_measured_does_not_end_the_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Packing:
        raise RuntimeError("no memory")

    monkeypatch.setattr(dry_run_of_packs, "measure_packing", fails)
    assert told(resources={"packing": 2}) == ["packing could not be measured: RuntimeError: no memory"]
