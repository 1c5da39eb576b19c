from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from recorded import LORA, Told, write
from typer.testing import Result

from tuning.ledger.ledger import LOCK

ROOT = Path(__file__).parents[3]


# --- best -------------------------------------------------------------------------------------


def test_best_says_by_which_rule_and_how_far_each_trial_came(run: Callable[..., Result]) -> None:
    out = run("best", "digits", "-k", "2").stdout
    assert "best 2 of 3 trials" in out
    assert "0.7500" in out
    assert "6 of 6" in out
    assert "0.4000" not in out
    assert "on validation images, highest first, each trial's best report" in out


def test_best_filters_and_takes_a_path(run: Callable[..., Result], storage: Path) -> None:
    out = run(
        "best", str(storage / "digits"), "--where", "adapter = 'serial_lora'", "--format", "json"
    ).stdout
    assert [trial["trial"] for trial in json.loads(out)["trials"]] == [4]
    assert "Columns are" in run("best", "digits", "--where", "nonsense =", code=2).stderr


def test_best_by_another_metric_and_budget(run: Callable[..., Result]) -> None:
    said = json.loads(run("best", "digits", "--metric", "loss", "--at", "1", "--format", "json").stdout)
    assert (said["metric"], said["mode"], said["at_epoch"]) == ("loss", "min", 1.0)
    assert said["trials"][0]["trial"] == 4
    assert "recorded are dice" in run("best", "digits", "--metric", "map", code=2).stderr


def test_best_as_yaml_is_a_file_for_train(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(run("best", "digits", "--format", "yaml").stdout)
    assert "trial 0: dice 0.7500" in file.read_text()
    assert "one configuration" in run("validate", str(file)).stdout
    from tuning.cli.commands.train import sole_config
    from tuning.experiment.load import load_experiment

    config = sole_config(load_experiment(str(file)))
    assert config.section.rank == 8
    assert config.learning_rate == 0.005
    assert config.epochs == 6


def test_an_unknown_name_says_which_there_are(run: Callable[..., Result]) -> None:
    assert "available: digits" in run("best", "digitz", code=2).stderr


def test_a_damaged_record_is_named(run: Callable[..., Result], storage: Path) -> None:
    ledger = storage / "digits" / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join([*lines[:3], "{broken\n", *lines[3:]]))
    assert "line 4" in run("best", "digits", code=2).stderr
    assert "unreadable" in run("list").stdout


# --- domains ----------------------------------------------------------------------------------


def test_domains_shows_figures_in_domain_and_shifted(run: Callable[..., Result], shifted: Path) -> None:
    out = run("domains", "shifted").stdout
    assert "shifted: dice in domain and shifted" in out
    assert "0.4000 (0.50)" in out
    assert "pretrained baseline" in out
    assert "0.9000" in run("domains", "shifted", "--metric", "loss").stdout
    said = json.loads(run("domains", "shifted", "--format", "json").stdout)
    assert [row["trial"] for row in said["rows"]] == [4, 0, None]
    assert "once a sweep has finished" in run("domains", "digits", code=2).stderr
    assert "there are dice, loss" in run("domains", "shifted", "--metric", "map", code=2).stderr


def test_best_and_status_of_a_scored_sweep(run: Callable[..., Result], shifted: Path) -> None:
    assert "test dice" in run("best", "shifted").stdout
    assert "trial 2 could not be scored on test images: best.ckpt is gone" in run("status", "shifted").stdout


# --- the other readers ------------------------------------------------------------------------


def test_ablation_is_marked_observational(run: Callable[..., Result]) -> None:
    out = run("ablation", "digits", "--by", "freezing").stdout
    assert "observational" in out
    assert "head_only" in out
    assert "the sweep varies" in run("ablation", "digits", "--by", "nothing", code=2).stderr


def test_status_and_list(run: Callable[..., Result], storage: Path) -> None:
    write(storage / "dead", (Told(LORA, (0.4,), None),), closed=None)
    out = run("status", "digits").stdout
    assert "2 completed" in out
    assert "finished" in out
    assert "trial 3 diverged: the loss is not finite at epoch 2" in out
    assert "the driver died" in run("status", "dead", "--watch").stdout
    listed = run("list").stdout
    assert "digits" in listed
    assert "best dice 0.7500 (trial 0)" in listed
    assert "died" in listed
    assert "no experiments" in run("list", "--storage", str(storage / "none")).stdout


def test_logs_of_a_trial(run: Callable[..., Result], storage: Path) -> None:
    folder = storage / "digits" / "trials" / "0003"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("12:00:00 epoch 1\n")
    assert run("logs", "digits:3").stdout == "12:00:00 epoch 1\n"
    assert "trial 1 of digits has no log" in run("logs", "digits:1", code=2).stderr
    assert "wrote no log" in run("logs", "digits", code=2).stderr
    best = storage / "digits" / "trials" / "0000"
    best.mkdir()
    (best / "log.txt").write_text("the best one's\n")
    assert run("logs", "digits:best").stdout == "the best one's\n"


def test_stop_leaves_a_request_for_the_driver(run: Callable[..., Result], storage: Path) -> None:
    assert "is not running" in run("stop", "digits", code=2).stderr
    folder = write(storage / "live", (Told(LORA, (0.4,)), Told(LORA, (0.4,), None)), closed=None)
    with FileLock(folder / LOCK):
        run("stop", "live:1")
        assert "ended already (completed)" in run("stop", "live:0", code=2).stderr
        assert "has no trial 7" in run("stop", "live:7", code=2).stderr
        run("stop", "live")
    assert sorted(p.name for p in (folder / "control").iterdir()) == ["stop", "stop-1"]


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.ENOSPC, "x", "/some/file"), 2, "/some/file: the disk is full"),
        (OSError(errno.EROFS, "x"), 2, "the disk is read-only"),
        (PermissionError(errno.EACCES, "x", "/some/file"), 2, "no permission"),
        (KeyboardInterrupt(), 130, "what an experiment has recorded so far is kept"),
        (RuntimeError("kaput\nmore"), 70, "unexpected RuntimeError: kaput"),
        (BrokenPipeError(errno.EPIPE, "x"), 1, ""),
    ],
)
def test_every_error_ends_as_a_message(
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tuning.experiment.load.load_experiment", fail)
    said = run("validate", "x", code=code).stderr
    assert message in said
    if code == 70:
        (saved,) = tmp_path.glob("adaptertune-*.txt")
        assert str(saved) in said
        assert "in fail" in saved.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "{file}", "--into", "/etc/passwd/x"), "/etc/passwd/x: a part of this path is a file"),
        (("train", "{file}", "--into", "/etc/passwd/x/y"), "a part of this path is a file"),
        (("train", "{file}", "--into", "n" * 300), "this name is too long"),
        (("best", "n" * 300), "this name is too long"),
        (("validate", "n" * 300), "this name is too long"),
    ],
)
def test_a_path_that_cannot_be_is_a_message(
    run: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("name: one\ntask: segmentation\nobjective: {metric: dice}\n")
    said = run(*(argument.format(file=file) for argument in arguments), code=2).stderr
    assert message in said


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR])
def test_a_path_of_ours_that_is_wrong_is_a_fault_of_ours(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, "x", wrong)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tuning.experiment.load.load_experiment", fail)
    wrong = "/usr/lib/ours"
    assert "fault of adaptertune" in run("validate", "/given/file", code=70).stderr
    wrong = "/given/file"
    assert "/given/file: " in run("validate", "/given/file", code=2).stderr


def test_a_wrong_option_is_typers_own_message(run: Callable[..., Result]) -> None:
    assert "No such option" in run("best", "digits", "--wehre", "x", code=2).stderr


# --- whole processes --------------------------------------------------------------------------


HEAVY = (
    "torch",
    "transformers",
    "peft",
    "ray",
    "optuna",
    "sqlalchemy",
    "matplotlib",
    "scipy",
    "pandas",
    "pyarrow",
)


def process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tuning.cli.app import app\n"
        "try: app(prog_name='adaptertune')\n"
        f"finally: print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=60, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("validate", "quickstart"),
        ("spaces",),
        ("list",),
        ("best", "digits"),
        ("best", "digits", "--where", "lora.rank > 4"),
        ("best", "digits", "--format", "yaml"),
        ("status", "digits"),
        ("ablation", "digits", "--by", "adapter"),
        ("domains", "shifted"),
    ],
)
def test_commands_that_read_import_nothing_heavy(
    storage: Path, shifted: Path, arguments: tuple[str, ...]
) -> None:
    """What makes them quick; how quick they are, `benchmarks/hundred_thousand_trials.py` measures."""
    done = process(*arguments, cwd=storage, ADAPTERTUNE_STORAGE=str(storage))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HEAVY []" in done.stdout


def test_a_closed_pipe_is_no_fault(storage: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tuning.cli.app import main; main()"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=storage,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
        assert child.wait(30) in (0, 1)
    assert said == b""
