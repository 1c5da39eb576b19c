"""The arguments that the command `resume` passes on; no sweep runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edited_records import edit_record
from typer.testing import Result

from tuning.experiment.load import load_experiment
from tuning.ledger.ledger import LEDGER, Ledger
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ExperimentRecord, ResumedRecord, StartedRecord


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
            ledger.append(EndedRecord(trial=number, outcome=Outcome.COMPLETED))
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
    ("recorded", "then", "now", "same"),
    [
        ("threshold", "", "", True),  # of a version in which that was the default
        ("threshold", "", ", rule: rank", False),
        ("threshold", ", rule: threshold", ", rule: threshold", True),
        ("threshold", ", rule: threshold", "", False),
        ("rank", "", "", True),
        ("rank", "", ", rule: threshold", False),
    ],
)
def test_a_file_that_names_no_rule_of_asha_asks_for_the_default_of_its_launch(
    tmp_path: Path,
    run: Callable[..., Result],
    file: Path,
    asked: list[Any],
    recorded: str,
    then: str,
    now: str,
    same: bool,
) -> None:
    def text(rule: str) -> str:
        return file.read_text().rstrip() + f"\nscheduler: {{asha: {{grace_epochs: 1{rule}}}}}\n"

    other = tmp_path / "other.yaml"
    other.write_text(text(then).replace("name: nuclei", "name: other"))
    of = load_experiment(other, [f"scheduler.asha.rule={recorded}"])
    written = of.model_dump(mode="json", exclude={"source_text"})
    header = ExperimentRecord(name="other", file=of.source_text, experiment=written)
    Ledger.create(tmp_path / "experiments" / "other", header).close()
    other.write_text(text(now).replace("name: nuclei", "name: other"))
    out = run("resume", "other", "--file", str(other), code=0 if same else 2)
    assert len(asked) == same
    assert ("scheduler.asha.rule: " in out.stderr) is not same


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
    assert "differs from what nuclei was started with" in out
    assert "only search.trials and search.epochs may change" in out
    assert said in out
    assert "search.trials: 8 → 20" not in out
    assert "search: {from: [nuclei]}" in out


# --- data that moved --------------------------------------------------------------------------


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """An experiment file whose data lie beside it, recorded as `nuclei` with two trials, in `job1`."""
    file = tmp_path / "job1" / "nuclei.yaml"
    for name in ("images", "masks"):
        (file.parent / name).mkdir(parents=True)
    file.write_text(
        "name: nuclei\n"
        "task: segmentation\n"
        "data: {masks: {train: {images: images, masks: masks}, classes: [ground, cell]}}\n"
        "objective: {metric: dice}\n"
        "space: {learning_rate: {float: [1e-4, 1e-2], log: true}}\n"
        "search: {trials: 8}\n"
    )
    of = load_experiment(file)
    header = ExperimentRecord(
        name=of.name, file=file.read_text(), experiment=of.model_dump(mode="json", exclude={"source_text"})
    )
    Ledger.create(tmp_path / "experiments" / "drawn", header).close()
    file.parent.rename(tmp_path / "job2")
    return tmp_path


def test_where_data_are_now_is_passed_on(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[dict[str, Any]]
) -> None:
    run("resume", "drawn", "--move-data", f"{drawn}/job1={drawn}/job2", "--trials", "9")
    assert [(each["trials"], each["move_data"]) for each in asked] == [
        (9, {f"{drawn}/job1": f"{drawn}/job2"})
    ]


def test_another_form_of_move_data_is_refused(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[Any]
) -> None:
    out = run("resume", "drawn", "--move-data", f"{drawn}/job2", code=2).stderr
    assert "--move-data must be OLD=NEW" in out
    assert not asked


def test_a_file_beside_the_moved_data_says_where_they_are(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[dict[str, Any]]
) -> None:
    run("resume", "drawn", "--file", f"{drawn}/job2/nuclei.yaml", "--set", "search.trials=9")
    parts = ("images", "masks")
    wanted = {f"{drawn}/job1/{part}": f"{drawn}/job2/{part}" for part in parts}
    assert [(each["trials"], each["move_data"]) for each in asked] == [(9, wanted)]


def test_a_file_that_names_the_old_place_and_the_new_place_go_together(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[dict[str, Any]]
) -> None:
    (drawn / "job1").mkdir()
    (drawn / "job1" / "nuclei.yaml").write_text((drawn / "job2" / "nuclei.yaml").read_text())
    move = {f"{drawn}/job1": f"{drawn}/job2"}
    for place in ("job1", "job2"):
        file = f"{drawn}/{place}/nuclei.yaml"
        run("resume", "drawn", "--file", file, "--move-data", f"{drawn}/job1={drawn}/job2")
    assert [each["move_data"] for each in asked] == [move, move]


def test_of_an_experiment_before_content_counted_a_file_does_not_move_the_data(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[Any]
) -> None:
    edit_record(storage / "drawn", lambda text: text.replace('"fingerprint":2', '"fingerprint":1'))
    out = run("resume", "drawn", "--file", f"{drawn}/job2/nuclei.yaml", code=2).stderr
    assert f"data.masks.train.images: {drawn}/job1/images → {drawn}/job2/images" in out
    assert not asked


def test_a_file_with_moved_data_and_another_change_is_refused_for_the_change(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[Any]
) -> None:
    moved = f"{drawn}/job2/nuclei.yaml"
    out = run("resume", "drawn", "--file", moved, "--set", "trial.epochs=3", code=2).stderr
    assert "trial.epochs" in out
    assert "data.masks" not in out
    assert not asked


def test_a_file_that_names_the_old_place_fits_once_the_new_one_is_recorded(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[dict[str, Any]]
) -> None:
    with Ledger.open(storage / "drawn") as ledger:
        ledger.append(ResumedRecord(moved={f"{drawn}/job1": f"{drawn}/job2"}))
    (drawn / "job1").mkdir()
    (drawn / "job1" / "nuclei.yaml").write_text((drawn / "job2" / "nuclei.yaml").read_text())
    for place in ("job1", "job2"):
        run("resume", "drawn", "--file", f"{drawn}/{place}/nuclei.yaml")
    assert [each["move_data"] for each in asked] == [{}, {}]


def test_a_file_from_before_packs_fits_its_record(
    run: Callable[..., Result], storage: Path, drawn: Path, asked: list[Any]
) -> None:
    folder, file = storage / "drawn", f"{drawn}/job2/nuclei.yaml"
    assert ',"packing":"auto"' in (folder / LEDGER).read_text()
    edit_record(folder, lambda text: text.replace(',"packing":"auto"', ""))
    run("resume", "drawn", "--file", file)
    assert len(asked) == 1
    out = run("resume", "drawn", "--file", file, "--set", "resources.packing=4", code=2).stderr
    assert "resources.packing: off → 4" in out


def test_it_takes_over_only_when_asked_to(
    run: Callable[..., Result], storage: Path, asked: list[dict[str, Any]]
) -> None:
    run("resume", "nuclei", "--take-over")
    run("resume", "nuclei")
    assert [each["take_over"] for each in asked] == [True, False]


def test_set_needs_a_file(run: Callable[..., Result], asked: list[Any]) -> None:
    assert "--file" in run("resume", "nuclei", "--set", "trial.epochs=2", code=2).stderr
    assert not asked
