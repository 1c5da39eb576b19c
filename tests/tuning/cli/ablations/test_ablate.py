"""`ablate` on the command line; sweeps are scripted, or recorded and never ran."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ablations import ran
from recorded import LORA, TRIALS, Told, experiment, write
from typer.testing import Result

from analysis.ablation import studies
from tuning.experiment.spec import Experiment
from tuning.ledger.attempts import FOLDER as ATTEMPTS
from tuning.ledger.header import experiment_of
from tuning.ledger.ledger import LEDGER, read_history
from tuning.ledger.outcomes import Ending, Outcome
from tuning.run.driver import LaunchResult

VALUES = {4: {1: 0.50, 2: 0.52, 3: 0.51}, 8: {1: 0.60, 2: 0.63, 3: 0.60}}


def begun(folder: Path) -> Experiment:
    """The experiment that is recorded in a folder."""
    return experiment_of(read_history(folder).header)


def test_a_dry_run_shows_the_plan_and_starts_nothing(run: Callable[..., Result], storage: Path) -> None:
    asked = ("--over", "lora.rank", "--levels", "4,8,16,32", "--seeds", "3", "--retune", "learning_rate")
    out = run("ablate", "digits", *asked, "--trials", "6", "--dry-run").stdout
    assert "digits-ablate-lora.rank: the plan" in out
    assert "8 (reference)" in out
    assert "all other settings as in trial 0 of digits, dice 0.7500" in out
    assert "up to 24 to retune learning_rate, then 12 of 6 epochs" in out
    assert "one after the other (trial 0 took 54 s)" in out
    assert [path.name for path in storage.iterdir() if path.is_dir()] == ["digits"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "takes one of --over SETTING (with --levels) and --study rank|freezing|"),
        (("--over", "lora.rank", "--study", "rank"), "takes one of --over"),
        (("--over", "lora.rank"), "needs --levels"),
        (("--over", "lora.rank", "--levels", "4,,8"), "'' is not a value; write them as 4,8,16"),
        (("--over", "lora.rank", "--levels", "4,{"), "is not a value"),
        (("--over", "lora.rank", "--levels", "4,8", "--reference", "5"), "--reference 5: is not a level"),
        (("--over", "targets", "--levels", "query+valeu"), "targets"),
        (
            ("--over", "unfreeze_epoch", "--levels", "2,3"),
            "unfreeze_epoch and freezing 'unfreeze_at' need each other",
        ),
        (("--study", "rank", "--at-equal-parameters"), "the design varies the rank itself"),
    ],
)
def test_a_design_that_cannot_be_is_refused(
    run: Callable[..., Result], storage: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in run("ablate", "digits", *arguments, code=2).stderr
    assert [path.name for path in storage.iterdir() if path.is_dir()] == ["digits"]


def test_a_patience_of_the_base_is_left_out_and_the_plan_says_so(
    run: Callable[..., Result], storage: Path
) -> None:
    asked = experiment("patient", trial={"epochs": 6, "early_stopping": {"patience": 2}})
    write(storage / "patient", of=asked)
    out = run("ablate", "patient", "--over", "lora.rank", "--levels", "4,8", "--dry-run").stdout
    assert "early_stopping of trial 0 is left out" in out
    own = ("--over", "early_stopping.patience", "--levels", "1,3")
    assert "is left out" not in run("ablate", "patient", *own, "--dry-run").stdout


def test_no_level_that_fits_is_said_also_where_the_scale_is_to_be_kept(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "level_violation", lambda level, base: "none fits")
    said = run("ablate", "digits", "--study", "targets", "--keep-scale", code=2).stderr
    assert "targets: the model takes none of the levels; name other levels with --levels" in said


@pytest.mark.parametrize("name", ["targets", "blocks"])
def test_what_only_an_adapter_reads_needs_one_in_the_base(run: Callable[..., Result], name: str) -> None:
    asked = ("--over", name, "--levels", "query,value" if name == "targets" else "[0,0],[0,1]")
    said = run("ablate", "digits:2", *asked, code=2).stderr
    assert "trial 2 of digits has adapter none" in said


def test_what_has_begun_is_not_begun_otherwise(run: Callable[..., Result], storage: Path) -> None:
    ran(storage / "other", VALUES)
    asked = ("ablate", str(storage / "other" / "digits"), "--over", "lora.rank")
    unlike = (*asked, "--levels", "4,8", "--seeds", "3", "--retune", "learning_rate")
    for extra in ((), ("--dry-run",)):  # before anything trains
        said = run(*unlike, *extra, code=2).stderr
        assert "has begun with nothing retuned, and --retune asks for learning_rate" in said
        assert "--name" in said
    assert not (storage / "other" / "digits-ablate-lora.rank-retune").exists()
    more = run(*asked, "--levels", "4,8", "--seeds", "4", code=2).stderr
    assert "has begun with 3 seeds, and --seeds asks for 4" in more
    assert "--name" in more
    other = run(*asked, "--levels", "4,16", "--seeds", "3", code=2).stderr
    assert "has begun with another design" in other
    assert "space.lora.rank" in other


@pytest.mark.slow
@pytest.mark.usefixtures("ray_once")
def test_it_retunes_then_compares_and_continues_where_it_was_interrupted(
    run: Callable[..., Result], storage: Path, scripted: list[str]
) -> None:
    asked = ("ablate", "digits", "--over", "lora.rank", "--levels", "4,8", "--seeds", "2")
    asked = (*asked, "--retune", "learning_rate", "--trials", "2")
    out = run(*asked).stdout
    assert scripted == ["digits-ablate-lora.rank-retune", "digits-ablate-lora.rank"]
    assert "retuned  lora.rank 4: learning_rate=0.0" in out
    assert "4 − 8" in out
    folder = storage / "digits-ablate-lora.rank"
    trials = read_history(folder).trials.values()
    assert [(t.params["seed"], t.params["lora.rank"]) for t in trials] == [
        (1, 4), (1, 8), (2, 4), (2, 8)
    ]  # fmt: skip
    assert all(t.outcome is Outcome.COMPLETED for t in trials)
    tuned = read_history(storage / "digits-ablate-lora.rank-retune").trials.values()
    best = max(tuned, key=lambda t: t.value or 0.0)
    assert {t.params["learning_rate"] for t in trials} == {best.params["learning_rate"]}
    # The same command on what is done only reads; on what was interrupted it continues.
    assert run(*asked).stdout.endswith(out[-200:])
    assert len(scripted) == 2
    whole = (folder / LEDGER).read_bytes().split(b"\n")
    (folder / LEDGER).write_bytes(b"\n".join(whole[: len(whole) // 2]) + b"\n")
    again = run(*asked).stdout
    assert scripted[2:] == ["again digits-ablate-lora.rank"]
    assert again.endswith(out[-200:])


def test_the_same_command_runs_only_what_is_left(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []

    def told(asked: Experiment) -> list[Told]:
        """A larger rank, and a rate nearer to 0.004, is better; each seed adds a small offset."""
        found = []
        for params in asked.search.first or list(asked.space.grid()):
            config = asked.trial_config(params)
            off = abs(config.learning_rate - 0.004)
            value = 0.5 + 0.01 * config.section.rank - 10 * off + 0.003 * config.seed * (-1) ** config.seed
            found.append(Told(params, (value / 2, value + 0.0001 * config.section.rank * config.seed)))
        return found

    def launched(asked: Experiment, place: Path, address: str | None) -> LaunchResult:
        began.append(asked.name)
        folder = write(place / asked.name, told(asked), of=asked)
        return LaunchResult(folder, Ending.FINISHED, read_history(folder))

    def gone_on(folder: Path, **_: Any) -> LaunchResult:
        began.append(f"again {folder.name}")
        asked = begun(folder)
        (folder / LEDGER).unlink()
        shutil.rmtree(folder / ATTEMPTS)
        write(folder, told(asked), of=asked)
        return LaunchResult(folder, Ending.FINISHED, read_history(folder))

    monkeypatch.setattr("tuning.cli.ablations.run_plan.run_sweep", launched)
    monkeypatch.setattr("tuning.cli.ablations.run_plan.resume_sweep", gone_on)
    asked = ("ablate", "digits", "--over", "lora.rank", "--levels", "4,8", "--seeds", "3")
    asked = (*asked, "--retune", "learning_rate", "--trials", "4")
    out = run(*asked).stdout
    assert began == ["digits-ablate-lora.rank-retune", "digits-ablate-lora.rank"]
    assert "4 is worse than 8" in out
    folder = storage / "digits-ablate-lora.rank"
    rates = {t.params["learning_rate"] for t in read_history(folder).trials.values()}
    retuned = begun(storage / "digits-ablate-lora.rank-retune")
    tried = {float(str(params["learning_rate"])) for params in retuned.search.first}
    assert rates == {min(tried, key=lambda rate: abs(rate - 0.004))}
    assert run(*asked).stdout == out
    assert len(began) == 2
    lines = (folder / LEDGER).read_bytes().split(b"\n")
    (folder / LEDGER).write_bytes(b"\n".join(lines[: len(lines) // 2]) + b"\n")
    assert run(*asked).stdout == out
    assert began[2:] == ["again digits-ablate-lora.rank"]
    # What was chosen is in the comparison's own record.
    shutil.rmtree(storage / "digits-ablate-lora.rank-retune")
    assert run(*asked).stdout == out
    assert len(began) == 3
    said = run(*asked[:-4], "--retune", "weight_decay", code=2).stderr
    assert "has begun with learning_rate retuned, and --retune asks for weight_decay" in said
    assert "has begun with another design" in run(*asked[:-4], code=2).stderr
    assert len(began) == 3


def test_an_interrupted_ablation_reports_how_to_continue(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(asked: Experiment, place: Path, address: str | None) -> LaunchResult:
        told = [Told(params, (0.3,) * 6) for params in list(asked.space.grid())[:3]]
        folder = write(place / asked.name, told, of=asked, closed=Ending.INTERRUPTED)
        return LaunchResult(folder, Ending.INTERRUPTED, read_history(folder))

    monkeypatch.setattr("tuning.cli.ablations.run_plan.run_sweep", cut)
    said = run("ablate", "digits", "--over", "lora.rank", "--levels", "4,8", "--seeds", "2", code=130).stderr
    assert "To continue, run the same command" in said
    out = run("ablation", "digits-ablate-lora.rank").stdout
    assert "Runs without a result: 1 not run." in out


def test_a_design_keeps_its_base_after_the_search_has_found_a_better_trial(
    run: Callable[..., Result], storage: Path
) -> None:
    folder = ran(storage / "other", VALUES)
    shutil.rmtree(storage / "other" / "digits")
    better = Told(LORA | {"learning_rate": 0.004, "lora.rank": 16}, (0.9,) * 6)
    write(storage / "other" / "digits", (*TRIALS, better))
    source = str(storage / "other" / "digits")
    out = run("ablate", source, "--over", "lora.rank", "--levels", "4,8", "--seeds", "3", "--dry-run").stdout
    assert "all other settings as in trial 0 of digits" in out
    fresh = run("ablate", source, "--over", "lora.alpha", "--levels", "4,8", "--dry-run").stdout
    assert "all other settings as in trial 7 of digits" in fresh
    assert folder.is_dir()
