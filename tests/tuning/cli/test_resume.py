"""`resume --file`, and which command lines `launch --supervise` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tuning.cli import app as cli
from tuning.cli import conclusion as cli_conclusion
from tuning.cli.commands import launch as commands_launch
from tuning.experiment.load import load_experiment
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import EndedRecord, ExperimentRecord, Outcome, StartedRecord
from tuning.run import detach
from tuning.run import supervise as supervising

FILE = """\
name: nuclei
task: segmentation
objective: {metric: dice}
trial: {epochs: 4}
space:
  adapter: {choice: [lora, loha]}
  learning_rate: {float: [1e-4, 1e-2], log: true}
search: {trials: 8}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nuclei.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def storage(tmp_path: Path, file: Path) -> Path:
    """An experiment of that file with two trials."""
    of = load_experiment(file)
    header = ExperimentRecord(
        name=of.name, file=FILE, experiment=of.model_dump(mode="json", exclude={"source_text"})
    )
    with Ledger.create(tmp_path / "experiments" / of.name, header) as ledger:
        for number in range(2):
            ledger.append(StartedRecord(trial=number, params={}, hash=str(number)))
            ledger.append(EndedRecord(trial=number, outcome=Outcome.COMPLETED, value=0.5))
    return tmp_path / "experiments"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `resume` was asked for, in place of a sweep."""
    found: list[dict[str, Any]] = []

    def go_on(folder: Path, **options: Any) -> SimpleNamespace:
        found.append(options)
        return SimpleNamespace()

    monkeypatch.setattr(commands_launch, "go_on", go_on)
    monkeypatch.setattr(cli_conclusion, "end", lambda result, then_ablate, resumed: None)
    return found


def run(storage: Path, *arguments: str, code: int = 0) -> Result:
    environment = {"ADAPTERTUNE_STORAGE": str(storage), "COLUMNS": "200"}
    result = CliRunner().invoke(cli.app, list(arguments), env=environment)
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


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
    storage: Path, file: Path, asked: list[Any], edit: tuple[str, str], options: list[str], trials: int | None
) -> None:
    file.write_text(FILE.replace(*edit))
    run(storage, "resume", "nuclei", "--file", str(file), *options)
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
    storage: Path, file: Path, asked: list[Any], edit: tuple[str, str], said: str
) -> None:
    text = FILE.replace(*edit)
    if "grid" in text:
        text = text.replace("{float: [1e-4, 1e-2], log: true}", "{choice: [1e-3]}")
    file.write_text(text)
    out = run(storage, "resume", "nuclei", "--file", str(file), code=2).stderr
    assert not asked
    assert "is not what nuclei was begun with, and only search.trials may change" in out
    assert said in out
    assert "search.trials: 8 → 20" not in out
    assert "search: {from: [nuclei]}" in out


def test_set_needs_a_file(storage: Path, asked: list[Any]) -> None:
    assert "--file" in run(storage, "resume", "nuclei", "--set", "trial.epochs=2", code=2).stderr
    assert not asked


# --- supervision ------------------------------------------------------------------------------


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str], Path]]:
    found: list[tuple[list[str], list[str], Path]] = []

    def supervise(
        start: Sequence[str], again: Sequence[str], folder: Path, *, tell: Callable[[str], None]
    ) -> int:
        found.append((list(start), list(again), folder))
        return 75

    monkeypatch.setattr(supervising, "supervise", supervise)
    return found


OPTIONS = ("--name", "new", "--trials", "3", "--set", "trial.epochs=2", "--then-ablate", "adapter")


def test_the_driver_is_launched_with_all_options_and_resumed_with_those_that_last(
    storage: Path, file: Path, supervised: list[tuple[list[str], list[str], Path]]
) -> None:
    run(storage, "launch", str(file), "--supervise", *OPTIONS, code=75)
    ((start, again, folder),) = supervised
    lasting = "--then-ablate=adapter"
    assert start == detach.command_line([
        "launch", str(file), lasting, "--set=trial.epochs=2", "--trials=3", "--name=new",
        f"--storage={storage}",
    ])  # fmt: skip
    assert again == detach.command_line(["resume", str(storage / "new"), lasting])
    assert folder == storage / "new"


def test_a_name_that_is_taken_is_never_resumed_in_its_place(
    storage: Path, file: Path, supervised: list[tuple[list[str], list[str], Path]]
) -> None:
    assert "already exists" in run(storage, "launch", str(file), "--supervise", code=2).stderr
    assert not supervised


def test_detached_it_is_the_supervisor_that_goes_to_the_background(
    storage: Path,
    file: Path,
    supervised: list[tuple[list[str], list[str], Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[list[str]] = []

    def leave(arguments: list[str], folder: Path) -> detach.Detached:
        left.append(arguments)
        return detach.Detached(7, folder / "driver.log", prepared=True)

    monkeypatch.setattr(detach, "detach", leave)
    run(storage, "launch", str(file), "--supervise", "--detach", "--name", "new")
    assert not supervised
    assert left == [["launch", str(file), "--name=new", f"--storage={storage}", "--supervise"]]
