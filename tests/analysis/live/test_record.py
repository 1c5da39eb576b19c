from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import reports
from recorded import SCORES, TRIALS, experiment, write

from analysis.live.record import LiveRecord
from analysis.live.rows import points_of, row_of, style_of
from analysis.live.sections import LiveSections
from analysis.query.sweep import Sweep
from analysis.report.inputs import Material
from trainables.errors import LedgerError
from trainables.specs.adapters import Adapter
from tuning.ledger.ledger import read_history, read_records
from tuning.ledger.parent import Parent
from tuning.ledger.records import StartedRecord


def live(folder: Path) -> LiveRecord:
    records = list(read_records(folder))
    record = LiveRecord(folder, records[0])
    record.observe(records[1:])
    return record


def test_line_by_line_it_is_the_sweep_that_is_read_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits", TRIALS, scores=SCORES)
    records = list(read_records(folder))
    record = LiveRecord(folder, records[0])
    for line in records[1:]:
        record.observe([line])
        record.changed()
    record.rest(True)
    record.changed()
    sweep = record.material().sweep
    whole = Sweep.of(read_history(folder), idle=True)
    ended = tuple(replace(trial, idle=True) for trial in sweep.trials)  # it matters only of those that run
    assert replace(sweep, trials=ended) == whole


def test_only_trials_with_new_lines_are_computed_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits", TRIALS, closed=None)
    record = live(folder)
    assert [trial.number for _, trial in record.changed()] == list(range(7))
    assert record.changed() == []
    (last,) = [one for one in read_records(folder) if one.kind == "ended" and one.trial == 4]
    record.observe([last])
    assert [trial.number for _, trial in record.changed()] == [4]


def test_rows_and_curves(tmp_path: Path) -> None:
    record = live(write(tmp_path / "digits", TRIALS, closed=None))
    rows = {t.number: row_of(history, t, record.objective) for history, t in record.changed()}
    assert (rows[0]["value"], rows[0]["epoch"], rows[0]["of"], rows[0]["state"]) == (0.75, 6, 6, "completed")
    assert (rows[3]["value"], rows[3]["reason"]) == (None, "the loss is not finite at epoch 2")
    assert rows[3]["backbone"]
    assert rows[6]["repeats"] == 0
    assert points_of(record.history.trials[1], "dice") == [(1.0, 0.35), (2.0, 0.4)]


def test_a_trial_that_continues_another_has_its_epochs(tmp_path: Path) -> None:
    record = live(write(tmp_path / "digits", TRIALS[:1], closed=None))
    parent = Parent(trial=0, state=True, file="a.ckpt", epochs=12)
    record.observe([StartedRecord(trial=1, params=dict(TRIALS[0].params), hash="h", parent=parent)])
    rows = {t.number: row_of(history, t, record.objective) for history, t in record.changed()}
    assert (rows[0]["of"], rows[0]["begins"]) == (6, None)
    assert (rows[1]["of"], rows[1]["begins"]) == (12, "continues trial 0")


def test_every_adapter_has_a_colour_and_a_marker_of_its_own() -> None:
    styles = [style_of(adapter.value) for adapter in Adapter]
    assert len({colour for colour, _ in styles}) == len(styles)
    assert len({marker for _, marker in styles}) == len(styles)


def test_sections_are_the_reports_and_escaped_and_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = live(reports.rich(tmp_path))
    record.changed()
    sections = LiveSections("s1-")
    parts = sections.parts(record.material())
    assert reports.HOSTILE not in str(parts)
    assert "&lt;script&gt;alert" in str(parts["section failures"])
    assert 'id="figure-s1-pareto-parameters"' in str(parts["section pareto"])
    assert parts["highlights"][0][0] == "best dice"  # type: ignore[index]
    monkeypatch.setattr("analysis.live.sections.draw_inline", lambda figure: pytest.fail("drawn again"))
    assert sections.parts(Material.at(record.folder)) is not None


def test_a_second_first_line_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits", TRIALS, of=experiment("digits"))
    records = list(read_records(folder))
    with pytest.raises(LedgerError, match="first line"):
        live(folder).observe(records[:1])
