from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from edited_records import edit_record
from recorded import LORA, SCORES, TRIALS, Told, experiment, write

from analysis.errors import QueryError
from analysis.query import sql as reader
from analysis.query.query_errors import MOST_LISTED, explain_sql_error
from analysis.query.sql import Source, opened, with_quotes
from trainables.errors import LedgerError
from tuning.ledger.ledger import LEDGER, Ledger, read_header, read_history
from tuning.ledger.records import ReportRecord, StartedRecord
from tuning.tables import parquet_parts
from tuning.tables.parquet_parts import FOLDER, Tables, valid_parts


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("scored") / "digits", TRIALS, scores=SCORES)


def compact(folder: Path) -> None:
    tables = Tables(folder, experiment(folder.name), read_header(folder))
    tables.open(1.0)
    tables.close()


def asked(folder: Path, sql: str) -> list[tuple[object, ...]]:
    with opened([folder]) as source:
        found: list[tuple[object, ...]] = source.ask(sql).fetchall()
        return found


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT trial, lora.rank FROM trials WHERE adapter = 'lora' ORDER BY 1", [(0, 8), (1, 4), (6, 8)]),
        ("SELECT max(dice), max(metrics.dice), max(t.metrics.dice) FROM trials AS t", [(0.75,) * 3]),
        ("SELECT t.lora.rank FROM trials AS t WHERE t.trial = 1", [(4,)]),
        ('SELECT "lora.rank" FROM trials WHERE trial = 0', [(8,)]),
        ("SELECT count(*), max(epoch) FROM epochs WHERE dice > 0.7", [(5, 6.0)]),
        ("SELECT best, best_epoch, last, last_epoch FROM trials WHERE trial = 0", [(0.75, 5.0, 0.72, 6.0)]),
        (
            "SELECT outcome, reason FROM trials WHERE trial = 3",
            [("diverged", "the loss is not finite at epoch 2")],
        ),
        ('SELECT test.dice, "test.dice@noisy", test.epoch FROM trials WHERE trial = 4', [(0.8, 0.4, 2.0)]),
        ("SELECT test.dice FROM trials WHERE trial = 2", [(None,)]),
        ("SELECT trial, latency_ms FROM trials WHERE latency_ms < 3", [(4, 2.5)]),
        (
            "SELECT trial, detail->>'by' FROM events WHERE kind = 'stopped' ORDER BY trial",
            [(1, "asha"), (5, "asha")],
        ),
        ("SELECT count(*) FROM events WHERE kind = 'closed'", [(1,)]),
        ("SELECT DISTINCT experiment FROM trials", [("digits",)]),
        ("SELECT 'lora.rank' AS text, \"trial\" FROM trials LIMIT 1", [("lora.rank", 0)]),
        (
            "WITH whole AS (SELECT * FROM trials WHERE outcome = 'completed')"
            " SELECT adapter, count(*) FROM whole JOIN epochs USING (trial) GROUP BY 1 ORDER BY 1",
            [("lora", 6), ("none", 6)],
        ),
    ],
)
@pytest.mark.parametrize("whole", [False, True], ids=["the record alone", "in Parquet"])
def test_a_question_is_answered(
    scored: Path, tmp_path: Path, sql: str, answer: list[object], whole: bool
) -> None:
    folder = scored
    if whole:
        folder = tmp_path / "digits"
        shutil.copytree(scored, folder)
        compact(folder)
    assert asked(folder, sql) == answer


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW trials",
        "SELECT 1; SELECT 2",
        "CREATE TABLE x AS SELECT 1",
        "COPY trials TO 'x.csv'",
        "SET threads = 1",
        "INSTALL httpfs",
        "",
    ],
)
def test_a_question_is_one_select(scored: Path, sql: str) -> None:
    with pytest.raises(QueryError, match="one SELECT"):
        asked(scored, sql)


def test_a_question_cannot_read_other_files(scored: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for sql in (f"SELECT * FROM read_csv('{tmp_path}/secret.csv')", f"FROM '{tmp_path}/secret.csv'"):
        with pytest.raises(QueryError):
            asked(scored, sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "SELECT nope FROM trials",
            r"no column 'nope'; the columns of trials are experiment, trial, ",
        ),
        ("SELECT lora.rnk FROM trials", r"no column 'lora\.rnk'; did you mean 'lora\.rank'\?$"),
        ("SELECT t.lora.rnk FROM trials AS t", r"did you mean 'lora\.rank'\?$"),
        ("SELECT t.outcom FROM trials AS t", r"no column 'outcom'; did you mean 'outcome'\?$"),
        ("SELECT * FROM trails", r"^there is no table 'trails'; did you mean 'trials'\?$"),
        ("SELECT * FROM epochs JOIN trails USING (trial)", r"did you mean 'trials'\?$"),
        ("SELECT * FROM nothing", r"no table 'nothing'; the tables are trials, epochs, events$"),
        ("SELECT trial FRM trials", "syntax error"),
    ],
)
def test_a_wrong_name_is_said_with_the_one_that_was_meant(scored: Path, sql: str, said: str) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        asked(scored, sql)
    assert "LINE" not in str(caught.value)


def test_a_long_list_of_columns_is_cut() -> None:
    columns = [f"space.setting_{n}" for n in range(MOST_LISTED + 5)]
    error = ValueError('Referenced column "nope" not found in FROM clause!')
    said = explain_sql_error(error, "SELECT nope FROM trials", {"trials": columns})
    assert f"setting_{MOST_LISTED - 1}, and 5 more" in said


def test_names_are_quoted_where_they_are_columns_and_nowhere_else() -> None:
    columns = ["lora.rank", "peft.arguments.x", "trial"]
    for given, written in [
        ("lora.rank > 4 AND t.LORA.RANK < 9", '"lora.rank" > 4 AND t."lora.rank" < 9'),
        ("'lora.rank' || \"lora.rank\"", "'lora.rank' || \"lora.rank\""),
        ("x -- lora.rank\n+ lora.rank", 'x -- lora.rank\n+ "lora.rank"'),
        ("/* lora.rank */ t.trial", "/* lora.rank */ t.trial"),
        ("peft.arguments.x = $$lora.rank$$", '"peft.arguments.x" = $$lora.rank$$'),
    ]:
        assert with_quotes(given, columns) == written


def test_what_a_running_sweep_writes_after_the_last_part_is_seen(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits", (*TRIALS, Told(LORA, (0.2, 0.3), None)), closed=None)
    compact(folder)
    with Ledger.open(folder) as ledger:
        ledger.append(ReportRecord(trial=7, epoch=3.0, step=30, objective=0.9, metrics={"dice": 0.9}))
        ledger.append(StartedRecord(trial=8, params=LORA, hash="h"))
    assert asked(folder, "SELECT trial, outcome, value FROM trials WHERE trial >= 7 ORDER BY 1") == [
        (7, "running", 0.9),
        (8, "running", None),
    ]
    assert asked(folder, "SELECT epoch FROM epochs WHERE trial = 7 ORDER BY 1") == [(1.0,), (2.0,), (3.0,)]


def test_reports_that_were_replaced_do_not_count(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    compact(folder)
    trial = read_history(folder).trials[0]
    with Ledger.open(folder) as ledger:
        ledger.append(StartedRecord(trial=0, params=dict(trial.params), hash=trial.hash))
        ledger.append(ReportRecord(trial=0, epoch=3.0, step=30, objective=0.1, metrics={"dice": 0.1}))
    for _ in range(2):
        sql = "SELECT epoch, dice FROM epochs WHERE trial = 0 ORDER BY 1"
        assert asked(folder, sql) == [(1.0, 0.3), (2.0, 0.5), (3.0, 0.1)]
        assert asked(folder, "SELECT outcome, value, last FROM trials WHERE trial = 0") == [
            ("running", 0.5, 0.1)
        ]
        compact(folder)


def test_names_may_differ_in_case_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "cases", (Told(LORA, (0.2,)), Told(LORA, (0.3,))))
    edit_record(folder, lambda text: text.replace('"dice/7"', '"Dice"'))
    compact(folder)
    assert asked(folder, "SELECT trial FROM trials WHERE dice > 0.25") == [(1,)]


# --- without tables, or with bad ones ---------------------------------------------------------


def test_a_reader_compacts_a_long_record_once_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "digits")
    monkeypatch.setattr(reader, "BEHIND", 1000)
    said: list[str] = []
    for _ in range(2):
        with opened([folder], tell=said.append) as source:
            assert source.ask("SELECT count(*) FROM trials").fetchall() == [(7,)]
    assert [text.split(":")[0] for text in said] == ["digits"]
    assert valid_parts(folder)[-1].end == (folder / LEDGER).stat().st_size


def test_a_record_that_cannot_be_written_beside_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "digits")
    monkeypatch.setattr(reader, "BEHIND", 1000)

    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    assert asked(folder, "SELECT count(*) FROM epochs") == [(20,)]
    assert not (folder / FOLDER).exists()


def test_a_disk_that_fills_up_while_a_reader_compacts_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "digits")
    monkeypatch.setattr(reader, "BEHIND", 1000)

    def full(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(parquet_parts, "_copy", full)
    assert asked(folder, "SELECT count(*) FROM epochs") == [(20,)]


def test_a_part_that_is_damaged_inside_is_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    compact(folder)
    (part,) = valid_parts(folder)
    file = folder / FOLDER / part.name / "trials.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes(len(content) - 8) + content[-4:])
    assert asked(folder, "SELECT count(*) FROM trials") == [(7,)]


def test_a_missing_or_damaged_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot read"):
        asked(tmp_path, "SELECT 1")
    folder = write(tmp_path / "digits")
    (folder / LEDGER).write_text((folder / LEDGER).read_text().replace('"kind":"report"', '"kind":"repo"', 1))
    with pytest.raises(LedgerError, match="line 6"):
        asked(folder, "SELECT 1")


def test_a_source_says_what_it_is(scored: Path) -> None:
    with opened([scored]) as source:
        assert isinstance(source, Source)
        assert source.name == "digits"
        assert source.objective.metric == "dice"
        assert set(source.columns) == {"trials", "epochs", "events"}


def test_parts_that_are_merged_in_the_middle_of_a_question_are_looked_for_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    compact(folder)
    with opened([folder]) as source:
        shutil.rmtree(folder / FOLDER)
        compact(folder)
        (part,) = (folder / FOLDER).glob("0*")
        part.rename(part.with_name("elsewhere"))
        assert source.ask("SELECT count(*) FROM trials").fetchall() == [(7,)]
        assert source.arrow("SELECT count(*) AS n FROM epochs").to_pylist() == [{"n": 20}]
