"""How results are displayed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from recorded import LORA, SCORES, TRIALS, Told, experiment, write

import analysis
from analysis.display import state_of
from tuning.ledger.ledger import LEDGER, Ledger
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import ResumedRecord


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTERTUNE_STORAGE", str(tmp_path))
    return tmp_path


def html(name: str) -> str:
    found = analysis.open(name)._repr_html_()
    assert found is not None
    return found


def test_a_line_says_state_trials_and_the_best(here: Path) -> None:
    write(here / "digits")
    assert (
        repr(analysis.open("digits")) == "Results('digits': finished, 7 trials, best dice 0.7500 of trial 0)"
    )


def test_a_notebook_shows_state_best_adapters_and_failures(here: Path) -> None:
    write(here / "digits", scores=SCORES)
    shown = html("digits")
    assert "<b>digits</b>: finished, 2 completed, 1 diverged, 1 early_stopped, 2 pruned, 1 reused" in shown
    assert "best configuration: trial 0, dice 0.7500 at epoch 5 of 6" in shown
    assert '<td style="text-align: left">lora.rank</td><td style="text-align: left">8</td>' in shown
    assert "digits: by adapter and freezing" in shown
    assert "trial 3 diverged: the loss is not finite at epoch 2" in shown
    assert "trial 2 could not be scored on test images: best.ckpt is gone" in shown
    assert "resume" not in shown


def test_what_a_record_holds_is_escaped(here: Path) -> None:
    script = "<script>alert('x')</script>"
    trials = (Told(LORA, (0.5,)), Told(LORA, (0.1,), Outcome.FAILED, script))
    write(here / "a&b<i>", trials, of=experiment("a&b<i>"))
    shown = html("a&b<i>")
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert "a&amp;b&lt;i&gt;" in shown
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in shown


@pytest.mark.parametrize("ending", list(Ending))
def test_the_state_is_that_of_the_records_end(here: Path, ending: Ending) -> None:
    write(here / "digits", closed=ending)
    assert analysis.open("digits").state == ending.value
    resume = "adaptertune.resume(&#x27;digits&#x27;)"
    assert (resume in html("digits")) == (ending is not Ending.FINISHED)


def test_a_record_without_an_end_runs_or_its_driver_died(here: Path) -> None:
    write(here / "digits", closed=None)
    assert analysis.open("digits").state == "died"
    with Ledger.open(here / "digits") as ledger:
        assert analysis.open("digits").state == "running"
        ledger.append(ResumedRecord(trials=None, environment={}))
    with (here / "digits" / LEDGER).open("a") as file:
        file.write('{"kind": "closed", "rea')  # torn
    assert state_of(here / "digits") == "died"


def test_without_a_value_there_is_no_best(here: Path) -> None:
    write(here / "none", (), closed=Ending.INTERRUPTED)
    assert repr(analysis.open("none")) == "Results('none': interrupted, 0 trials)"
    assert "no trial yet" in html("none")
    write(here / "lost", (Told(LORA, (), Outcome.FAILED, "out of memory"),) * 12)
    assert repr(analysis.open("lost")) == "Results('lost': finished, 12 trials)"
    assert "… and 2 more" in html("lost")


def test_several_experiments_are_a_table_of_them(here: Path) -> None:
    write(here / "digits")
    write(here / "digits-2", TRIALS[:2], closed=None)
    both = analysis.open("digits*")
    assert repr(both) == "Results(2 experiments: 1 died, 1 finished, 9 trials)"
    shown = html("digits*")
    assert "best dice 0.7500 of trial 0" in shown
    assert "1 completed, 1 pruned" in shown


def test_a_record_that_is_gone_is_shown_by_its_place(here: Path) -> None:
    write(here / "digits")
    results = analysis.open("digits")
    shutil.rmtree(here / "digits")
    assert repr(results) == f"Results({here / 'digits'})"
    assert results._repr_html_() is None
