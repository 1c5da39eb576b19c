"""The benchmark of a fixed list of trials, with few programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_commands import printed_by, refusal

from benchmarks import sixteen_trials
from benchmarks.sixteen_trials import Peer, Run
from benchmarks.task16 import configurations


def test_32_trials_are_the_16_and_16_more() -> None:
    few, many = configurations(16), configurations(32)
    assert (len(few), len(many)) == (16, 32)
    assert all(configuration in many for configuration in few)
    assert len({tuple(configuration.items()) for configuration in many}) == 32


def test_every_program_gets_the_same_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int, int]] = []

    def ours(folder: Path, trials: int, batch: int) -> Run:
        asked.append(("ours", trials, batch))
        return Run(10.0, 11.0, [0.5], wait=0.01)

    def peer(program: Peer, folder: Path, trials: int, batch: int) -> Run:
        asked.append((program.title, trials, batch))
        return Run(25.0, 26.0, [0.4])

    monkeypatch.setattr(sixteen_trials, "ours", ours)
    monkeypatch.setattr(sixteen_trials, "peer", peer)
    monkeypatch.setattr(sixteen_trials, "save_backbone", lambda folder: None)
    monkeypatch.setenv(sixteen_trials.FOLDER, "")
    size = ["--trials", "32", "--batch", "2"]
    sixteen_trials.main(["--rounds", "2", *size, "--peers", "ray", "optuna-one-thread"])
    names = ["ours", "raw ray tune", "optuna loop, one thread"]
    assert asked == [(name, 32, 2) for name in names] * 2
    printed = capsys.readouterr().out
    assert printed.count("2.50× ours") == 2
    assert "load" in printed.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--rounds", "0"], "--rounds"), (["--trials", "17"], "17"), (["--peers", "keras"], "keras")],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refusal(sixteen_trials.main, arguments, capsys)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_whole_command() -> None:
    printed = printed_by("benchmarks.sixteen_trials", "--rounds", "1", "--peers", "optuna-one-thread")
    assert printed.count(" 16 trials, mean best Dice") == 2
