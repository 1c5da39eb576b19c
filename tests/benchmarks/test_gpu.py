"""The GPU benchmark with tiny models on a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_commands import printed_by, refusal
from marks import slow
from torch import Tensor, nn

from benchmarks import gpu
from benchmarks.on_gpu import parity
from benchmarks.on_gpu.comparison import Options, Section
from benchmarks.on_gpu.models import SMALL_VIT, save_vit
from benchmarks.on_gpu.rows import Clock, Row, table
from benchmarks.on_gpu.sections import SECTIONS
from trainables.packing.forwards import Plain
from trainables.packing.stacks import Stacks
from trainables.training.state import TrialState

CPU = torch.device("cpu")
QUICK = Options(CPU, small=True, turns=1, limit_s=100.0, processes=0, compiled=False)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["segmentation", slow("head_only")])
def test_a_section_times_all_its_rows(name: str, tmp_path: Path) -> None:
    found: list[Section] = []
    SECTIONS[name](tmp_path, QUICK, found.append)
    section = found[-1]
    assert [row.why for row in section.rows] == [None] * len(section.rows)
    assert all((row.median or 0) > 0 for row in section.rows)
    assert section.best is not None
    assert section.best.name.startswith("packed")
    assert all("holds" in line for line in section.parity)
    written = json.loads(json.dumps(section.as_json()))
    assert [row["name"] for row in written["rows"]] == [row.name for row in section.rows]
    assert written["rows"][0]["times_eager"] == pytest.approx(1.0)


class _Brighter:
    """A forward pass that is wrong: it changes the images."""

    def __call__(self, model: nn.Module, stacks: Stacks, states: Sequence[TrialState]) -> nn.Module:
        class Wrong(nn.Module):
            def forward(self, images: Tensor, **options: Any) -> Any:
                return model(images + 0.1 if torch.is_grad_enabled() else images, **options)

        return Wrong()


def test_parity_holds_for_the_packed_step_and_not_for_a_wrong_one(tmp_path: Path) -> None:
    save_vit(tmp_path, SMALL_VIT)
    right = parity.check(tmp_path, SMALL_VIT, CPU, Plain())
    wrong = parity.check(tmp_path, SMALL_VIT, CPU, _Brighter())
    assert right.holds
    assert not wrong.holds
    assert "DOES NOT HOLD" in str(wrong)


def test_what_is_wrong_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = parity.Parity(0.5, (1.0, 2.0), (1.0, 1.0))
    monkeypatch.setattr(parity, "check", lambda *_: wrong)
    found: list[Section] = []
    SECTIONS["segmentation"](tmp_path, QUICK, found.append)
    packed = [row for row in found[-1].rows if row.name.startswith("packed")]
    assert packed
    assert all(row.median is None and "DOES NOT HOLD" in (row.why or "") for row in packed)
    assert found[-1].rows[0].median is not None
    assert "not measured" in next(iter(found[-1].verdicts()))


def _row(name: str, step: Callable[[int], int], **settings: Any) -> Row:
    return Row(name, lambda: step, **settings)


def test_a_row_that_fails_says_why_and_the_others_go_on() -> None:
    def fails_later(times: int) -> int:
        if times > 4:
            raise torch.OutOfMemoryError("no memory left")
        return times

    def fails_at_once(times: int) -> int:
        raise RuntimeError("no kernel image\nand a long trace")

    rows = [_row("good", lambda times: times), _row("late", fails_later), _row("early", fails_at_once)]
    clock = Clock(CPU, limit_s=10.0, turn_s=0.01)
    for row in rows:
        clock.set_up(row, 0.0)
    for row in rows:
        clock.turn(row)
    assert rows[0].median is not None
    assert rows[1].why == "failed: OutOfMemoryError: no memory left"
    assert rows[2].why == "failed: RuntimeError: no kernel image"
    assert "no memory left" in table(rows, None)


def test_a_row_without_time_is_left_out() -> None:
    row = _row("slow", lambda times: times, needs_s=60.0)
    Clock(CPU, limit_s=10.0, turn_s=0.01).set_up(row, 0.0)
    assert row.why == "not run: no time left"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "cpu"], "--small"),
        (["--device", "cpu", "--small", "--turns", "0"], "--turns"),
        (["--sections", "speech"], "speech"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refusal(gpu.main, arguments, capsys)


@pytest.mark.slow
def test_compiled_models_are_timed_after_the_others(tmp_path: Path) -> None:
    found: list[Section] = []
    SECTIONS["segmentation"](tmp_path, replace(QUICK, turns=2, limit_s=250.0, compiled=True), found.append)
    compiled = [row for row in found[-1].rows if row.compiles]
    assert [row.name for row in compiled] == ["compiled, one by one", "packed, K = 4, compiled"]
    for row in found[-1].rows:
        assert len(row.ms) == (1 if row.compiles else 2), row.why
    assert all(row.graphs == "1 graphs, 0 graph breaks" for row in compiled)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_whole_command(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    small = ["--device", "cpu", "--small", "--no-compiled", "--turns", "1", "--processes", "2"]
    printed_by("benchmarks.gpu", *small, "--out", str(out), within_s=2300)
    found = json.loads(out.read_text())
    assert found["machine"]["torch"] == torch.__version__
    assert list(found["sections"]) == ["segmentation", "detection", "head_only"]
    for section in found["sections"].values():
        assert section["ended"] == "complete"
        for row in section["rows"]:
            if row["peer"]:
                assert row["ms_a_trial_step"] > 0, row
            else:
                assert row["ms_a_trial_step"] or "not available" in row["why_not"], row
