"""TensorBoard's files as TensorBoard itself reads them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import recorded
from small_disk import small_disk
from viewed import live, of

from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ReportRecord, StartedRecord
from tuning.views.followers import Views
from tuning.views.tensorboard import FOLDER, TensorBoardView

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return recorded.write(tmp_path / "digits")


def read(folder: Path, number: int) -> Any:
    """The content of a trial in TensorBoard."""
    events = event_accumulator.EventAccumulator(str(folder / FOLDER / f"{number:04d}"))
    return events.Reload()


def curve(folder: Path, number: int, tag: str = "dice") -> list[tuple[int, float]]:
    events = read(folder, number)
    if tag not in events.Tags()["scalars"]:
        return []
    return [(point.step, round(point.value, 5)) for point in events.Scalars(tag)]


def follow(folder: Path, records: Sequence[Any], known: int = 1) -> None:
    live(TensorBoardView(folder), records, known)


def test_each_trial_is_a_run_with_its_curves_settings_and_outcome(folder: Path) -> None:
    follow(folder, list(read_records(folder)))
    assert curve(folder, 0) == [(10, 0.3), (20, 0.5), (30, 0.6), (40, 0.7), (50, 0.75), (60, 0.72)]
    assert curve(folder, 0, "objective")[-1] == (60, 0.75)
    assert curve(folder, 0, "epoch")[-1] == (60, 6.0)
    assert curve(folder, 0, "dice/7")[0] == (10, 0.15)
    assert curve(folder, 1) == [(10, 0.35), (20, 0.4)]
    plugins = read(folder, 3).summary_metadata
    assert "_hparams_/session_start_info" in plugins
    (words,) = read(folder, 3).Tensors("outcome/text_summary")
    assert words.tensor_proto.string_val[0] == b"diverged: the loss is not finite at epoch 2"


def test_settings_are_read_back_by_its_hparams_plugin(folder: Path) -> None:
    from tensorboard.plugins.hparams import metadata

    follow(folder, list(read_records(folder)))
    told = read(folder, 0).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(told)
    assert start.hparams["learning_rate"].number_value == 0.005
    assert start.hparams["adapter"].string_value == "lora"
    assert start.hparams["lora.rank"].number_value == 8


def test_points_carry_the_time_of_the_record(folder: Path) -> None:
    follow(folder, list(read_records(folder)))
    assert [point.wall_time for point in read(folder, 0).Scalars("dice")][:2] == [1010.0, 1020.0]


def test_wherever_a_driver_died_the_curves_come_out_the_same(folder: Path) -> None:
    records = list(read_records(folder))
    follow(folder, records)
    expected = [curve(folder, number) for number in range(7)]
    for cut in (2, 7, 9, 12, 20, len(records)):
        shutil.rmtree(folder / FOLDER)
        follow(folder, records[:cut])
        follow(folder, records, known=min(cut + 2, len(records)))
        assert [curve(folder, number) for number in range(7)] == expected, cut


def test_what_is_whole_is_not_written_again_and_what_is_deleted_comes_back(folder: Path) -> None:
    records = list(read_records(folder))
    follow(folder, records)
    (kept,) = (folder / FOLDER / "0000").iterdir()
    stamp = kept.stat().st_mtime_ns
    shutil.rmtree(folder / FOLDER / "0001")
    follow(folder, records, known=len(records))
    assert kept.stat().st_mtime_ns == stamp
    assert curve(folder, 1) == [(10, 0.35), (20, 0.4)]


def test_a_trial_that_resumes_from_an_earlier_state_has_each_step_once(folder: Path) -> None:
    records = list(read_records(folder))
    reports = [r for r in records if isinstance(r, ReportRecord) and r.trial == 0]
    at = records.index(reports[3])
    follow(folder, [*records[: at + 1], *reports[2:], *records[records.index(reports[-1]) + 1 :]])
    assert curve(folder, 0) == [(10, 0.3), (20, 0.5), (30, 0.6), (40, 0.7), (50, 0.75), (60, 0.72)]


def test_a_failed_trial_that_starts_once_more_has_each_step_once(folder: Path) -> None:
    """From a checkpoint before its last report, in a separate file."""
    records = list(read_records(folder))
    reports = [r for r in records if isinstance(r, ReportRecord) and r.trial == 0]
    started = next(r for r in records if isinstance(r, StartedRecord) and r.trial == 0)
    failed = EndedRecord(trial=0, outcome=Outcome.FAILED, reason="out of luck", time=reports[3].time)
    follow(folder, [records[0], started, *reports[:4], failed, started, *reports[2:]])
    assert len(list((folder / FOLDER / "0000").iterdir())) == 2
    assert [step for step, _ in curve(folder, 0)] == [10, 20, 30, 40, 50, 60]


def test_an_interrupted_trial_resumes_in_its_run(folder: Path) -> None:
    records = list(read_records(folder))
    end = next(i for i, r in enumerate(records) if isinstance(r, EndedRecord))
    started = next(r for r in records if isinstance(r, StartedRecord))
    broken = [*records[: end - 2], records[end].model_copy(update={"outcome": Outcome.INTERRUPTED})]
    follow(folder, broken)
    assert len(curve(folder, 0)) == 4
    follow(folder, [*broken, started, *records[end - 2 : end + 1]], known=len(broken))
    assert [step for step, _ in curve(folder, 0)] == [10, 20, 30, 40, 50, 60]


def test_a_full_disk_is_said_once_and_resume_brings_the_rest(folder: Path) -> None:
    said: list[str] = []
    records = list(read_records(folder))
    with small_disk(folder.parent / "disk", size_kb=1024) as disk:
        view = TensorBoardView(disk.path)
        with Views([view], of(records[:4]), say=said.append) as views:
            disk.fill()
            for record in records[4:]:
                views.put(record)
        assert len(said) == 1
        assert "cannot update TensorBoard: OSError" in said[0]
        assert "No space left" in said[0]
        disk.free_space()
        follow(disk.path, records, known=len(records))
        assert curve(disk.path, 0)[-1] == (60, 0.72)


def test_the_real_record_is_unchanged(folder: Path) -> None:
    before = (folder / "ledger.jsonl").read_bytes()
    follow(folder, list(read_records(folder)))
    assert (folder / "ledger.jsonl").read_bytes() == before
    assert read_history(folder).name == "digits"


def test_the_run_of_a_trial_that_rests_stays_open(folder: Path) -> None:
    records = list(read_records(folder))
    second = [i for i, r in enumerate(records) if isinstance(r, ReportRecord) and r.trial == 0][1]
    start = next(r for r in records if isinstance(r, StartedRecord) and r.trial == 0)
    rest = EndedRecord(trial=0, outcome=Outcome.RESTING, value=0.5, epoch=2.0)
    follow(folder, [*records[: second + 1], rest, start, *records[second + 1 :]])
    assert curve(folder, 0) == [(10, 0.3), (20, 0.5), (30, 0.6), (40, 0.7), (50, 0.75), (60, 0.72)]
    (words,) = read(folder, 0).Tensors("outcome/text_summary")
    assert words.tensor_proto.string_val[0] == b"completed"
