"""The arguments that the command `resume` passes on; no sweep runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

from tuning.experiment.load import load_experiment
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import EndedRecord, ExperimentRecord, Outcome, StartedRecord


@pytest.fixture
def storage(tmp_path: Path, file: Path) -> Path:
    """An experiment of that file with two trials."""
    of = load_experiment(file)
    header = ExperimentRecord(
        name=of.name, file=file.read_text(), experiment=of.model_dump(mode="json", exclude={"source_text"})
    )
    with Ledger.create(tmp_path / "experiments" / of.name, header) as ledger:
        for number in range(2):
            ledger.append(StartedRecord(trial=number, params={}, hash=str(number)))
            ledger.append(EndedRecord(trial=number, outcome=Outcome.COMPLETED, value=0.5))
    return tmp_path / "experiments"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that `resume` got; no sweep runs."""
    found: list[dict[str, Any]] = []

    def resume_sweep(folder: Path, **options: Any) -> SimpleNamespace:
        found.append(options)
        return SimpleNamespace()

    monkeypatch.setattr("tuning.cli.run.run_with_progress.resume_sweep", resume_sweep)
    monkeypatch.setattr("tuning.cli.conclusion.conclude_sweep", lambda result, then_ablate, resumed: None)
    return found


@pytest.mark.parametrize(
    ("edit", "options", "trials"),
    [
        (("", ""), [], None),
        (("trials: 8", "trials: 20"), [], 20),
        (("trials: 8", "trials: 20"), ["--trials", "30"], 30),
        (("name: nuclei", "name: renamed"), [], None),
        (("epochs: 4", "epochs: 5"), ["--set", "trial.epochs=4"], None),
        (("task:", "# a remark\ntask:"), [], None),
    ],
)
def test_a_file_may_ask_for_more_trials(
    run: Callable[..., Result],
    file: Path,
    asked: list[Any],
    edit: tuple[str, str],
    options: list[str],
    trials: int | None,
) -> None:
    file.write_text(file.read_text().replace(*edit))
    run("resume", "nuclei", "--file", str(file), *options)
    assert [options["trials"] for options in asked] == [trials]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("epochs: 4", "epochs: 5"), "  trial.epochs: 4 → 5"),
        (("[lora, loha]", "[lora]"), '  space.adapter: {"choice": ["lora", "loha"]} → {"choice": ["lora"]}'),
        (("trials: 8", "trials: 20, seed: 3"), "  search.seed: 0 → 3"),
        (("trials: 8}", "trials: 8}\nretries: 2"), "  retries: 0 → 2"),
        (
            ("search: {trials: 8}", "search: {grid: {}}\n"),
            "  space.learning_rate",
        ),
    ],
)
def test_any_other_change_is_refused_with_the_difference_and_the_way(
    run: Callable[..., Result], file: Path, asked: list[Any], edit: tuple[str, str], said: str
) -> None:
    text = file.read_text().replace(*edit)
    if "grid" in text:
        text = text.replace("{float: [1e-4, 1e-2], log: true}", "{choice: [1e-3]}")
    file.write_text(text)
    out = run("resume", "nuclei", "--file", str(file), code=2).stderr
    assert not asked
    assert "differs from what nuclei was started with, and only search.trials may change" in out
    assert said in out
    assert "search.trials: 8 → 20" not in out
    assert "search: {from: [nuclei]}" in out


def test_set_needs_a_file(run: Callable[..., Result], asked: list[Any]) -> None:
    assert "--file" in run("resume", "nuclei", "--set", "trial.epochs=2", code=2).stderr
    assert not asked
