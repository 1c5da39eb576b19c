from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from recorded import LORA, SCORES, Told, write

import analysis
from analysis.errors import QueryError
from trainables.errors import LedgerError, StorageError
from tuning.ledger.ledger import LEDGER, Ledger
from tuning.ledger.records import StartedRecord


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storage")
    write(folder / "digits", scores=SCORES)
    write(folder / "digits-more", (Told(LORA, (0.8,)),))
    return folder


def test_the_best_are_a_frame_with_their_whole_configuration(storage: Path) -> None:
    digits = analysis.open("digits", storage)
    best = digits.best(k=2)
    assert list(best["trial"]) == [0, 4]
    first = best.iloc[0]
    assert (first["value"], first["epoch"], first["last"], first["last_epoch"]) == (0.75, 5.0, 0.72, 6.0)
    assert (first["lora.rank"], first["adapter"], first["test.dice"]) == (8, "lora", 0.7)
    at = digits.best(k=1, at=2, where="adapter = 'lora'").iloc[0]
    assert (at["at_budget"], at["budget"], at["best"]) == (0.5, 2.0, 0.75)
    assert list(digits.best(early_stopped=True)["trial"]) == [0, 4, 1, 2, 5]
    assert digits.best(metric="loss", k=1).iloc[0]["metric"] == "loss"
    assert digits.best(where="outcome = 'nothing'").empty


def test_trials_epochs_and_events_are_frames(storage: Path) -> None:
    digits = analysis.open(storage / "digits")
    assert digits.names == ("digits",)
    assert len(digits.trials) == 7
    assert digits.trials["metrics.dice"].max() == 0.75
    assert len(digits.epochs) == 20
    assert set(digits.events["kind"]) >= {"started", "stopped", "ended", "closed", "scored"}
    assert "lora.rank" in digits.columns["trials"]


def test_several_experiments_are_one_record(storage: Path) -> None:
    both = analysis.open("digits*", storage)
    assert both.names == ("digits", "digits-more")
    assert list(both.best(k=1)["experiment"]) == ["digits-more"]
    assert both.query("SELECT experiment, count(*) AS n FROM trials GROUP BY 1 ORDER BY 1")["n"].tolist() == [
        7,
        1,
    ]


def test_a_record_that_grows_is_read_as_it_is_when_asked(tmp_path: Path) -> None:
    grows = analysis.open(write(tmp_path / "grows", closed=None))
    with Ledger.open(tmp_path / "grows") as ledger:
        ledger.append(StartedRecord(trial=7, params=LORA, hash="h"))
    assert len(grows.trials) == 8


def test_faults_are_told(storage: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="available: digits, digits-more"):
        analysis.open("digitz", storage)
    with pytest.raises(StorageError, match=r"no experiment matches 'x\*'"):
        analysis.open("x*", storage)
    digits = analysis.open("digits", storage)
    with pytest.raises(QueryError, match="the columns of trials"):
        digits.query("SELECT nope FROM trials")
    with pytest.raises(QueryError, match="from 1 on, got 0"):
        digits.best(k=0)
    (tmp_path / LEDGER).write_text("{}\n")
    with pytest.raises(LedgerError, match="line 1"):
        analysis.open(tmp_path)


def test_polars_where_it_is_installed(storage: Path) -> None:
    digits = analysis.open("digits", storage)
    if importlib.util.find_spec("polars") is None:
        with pytest.raises(QueryError, match="pip install polars"):
            digits.query("SELECT * FROM trials", engine="polars")
        return
    assert digits.query("SELECT trial FROM trials", engine="polars").height == 7
    assert digits.best(k=2, engine="polars")["trial"].to_list() == [0, 4]
