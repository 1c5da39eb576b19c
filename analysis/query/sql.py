"""Records of experiments as SQL: the views trials, epochs, events.

They are read from the Parquet parts of a record (`tuning.tables.parquet_parts`). The lines after the last
part, or all lines if there are no parts, are compacted here in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import QueryError
from analysis.query.floors import Floors
from analysis.query.query_errors import explain_sql_error
from trainables.errors import StorageError
from trainables.specs.workload import ROBUSTNESS
from tuning.ledger.ledger import LEDGER, read_header, read_records
from tuning.ledger.records import ExperimentRecord, PreparedRecord, StartedRecord
from tuning.ranking.standing import Objective
from tuning.tables.parquet_parts import FOLDER, TablePart, Tables, resume_folding, table_files, valid_parts
from tuning.tables.relations import connect_duckdb, create_table, sql_name, sql_parquet, sql_text
from tuning.tables.rows import KINDS, LATENCY, TABLES, Row

if TYPE_CHECKING:
    import duckdb

    from tuning.experiment.spec import Experiment

VIEWS = ("trials", "epochs", "events")
BEHIND = 4 << 20
"""A reader writes new parts, if it can, from this many bytes of the record after its last part."""
_HIDDEN = {"trials": "from_byte, upto", "epochs": "byte, replaces", "events": "byte", "scores": "byte"}


@dataclass(frozen=True)
class Recorded:
    """An experiment on disk. header: the first line of its record."""

    folder: Path
    header: ExperimentRecord

    @classmethod
    def at(cls, folder: Path) -> Recorded:
        """Read the header. Raises LedgerError if there is no record that can be used."""
        return cls(folder, read_header(folder))

    @property
    def name(self) -> str:
        """The name of its folder: a copy of an experiment is another experiment."""
        return self.folder.absolute().name

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment in full. Raises LedgerError if this version cannot read it."""
        from tuning.ledger.header import experiment_of

        return experiment_of(self.header)

    @cached_property
    def objective(self) -> Objective:
        """The objective by which its trials are compared."""
        return Objective.of(self.experiment.workload)

    @cached_property
    def floors(self) -> Floors:
        """What the best constant predictor reaches on its images."""
        lines = read_records(self.folder)
        early = takewhile(lambda record: not isinstance(record, StartedRecord), lines)
        prepared = next((record for record in early if isinstance(record, PreparedRecord)), None)
        return Floors.of(self.experiment.workload, prepared)


class Source:
    """The records of some experiments, open for queries. A view is made when it is first needed.

    tell: called with a message before a record is compacted, which may take seconds.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        experiments: Sequence[Recorded],
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.connection = connection
        self.experiments = tuple(experiments)
        self._tell = tell
        self._columns: dict[str, tuple[str, ...]] = {}
        self._read_records(thorough=False)

    def _read_records(self, *, thorough: bool) -> None:
        """Read the records as they are now."""
        self._rows = [_read(recorded, self._tell, thorough=thorough) for recorded in self.experiments]
        self._columns.clear()

    @property
    def columns(self) -> Mapping[str, tuple[str, ...]]:
        """The columns of each view, in order."""
        return {view: self.columns_of(view) for view in VIEWS}

    def columns_of(self, view: str) -> tuple[str, ...]:
        """The columns of one view, in order; also of a table of `tuning.tables.rows`, as `all_scores`."""
        import duckdb

        if view not in self._columns:
            try:
                self._make(view)
            except duckdb.Error:  # a part is damaged inside, or has just been merged into another
                self._read_records(thorough=True)
                self._make(view)
        return self._columns[view]

    def _make(self, view: str) -> None:
        if view.startswith("all_"):
            table, selects = view.removeprefix("all_"), []
            for index, (recorded, (parts, rows)) in enumerate(zip(self.experiments, self._rows, strict=True)):
                raw = _raw(self.connection, recorded.folder, parts, rows[table], table, index)
                valid = _valid(self.connection, table, raw, index)
                name = f"{sql_text(recorded.name)} AS experiment"
                selects.append(f"SELECT {name}, * EXCLUDE ({_HIDDEN[table]}) FROM {valid}")
            found = " UNION ALL BY NAME ".join(selects)
        else:
            found = self._shown(view)
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {found}")
        described = self.connection.execute(f"SELECT * FROM {view} LIMIT 0").description
        self._columns[view] = tuple(str(column[0]) for column in described or ())

    def _shown(self, view: str) -> str:
        names, rest = ["t.*"], ""
        columns = self.columns_of(f"all_{view}")
        if view == "trials":
            tested = [c for c in self.columns_of("all_scores") if c.startswith("test.") or c in LATENCY]
            if tested:
                names += ['s.epoch AS "test.epoch"', *(f"s.{sql_name(column)}" for column in tested)]
                rest = (
                    " LEFT JOIN (SELECT * FROM all_scores WHERE trial IS NOT NULL AND reason IS NULL) AS s"
                    " ON s.experiment = t.experiment AND s.trial = t.trial"
                )
        names += _short(columns, _setting_names() if view == "trials" else ())
        return f"SELECT {', '.join(names)} FROM all_{view} AS t{rest}"

    @property
    def name(self) -> str:
        """The experiments' names."""
        return ", ".join(recorded.name for recorded in self.experiments)

    def recorded(self, name: str) -> Recorded:
        """The experiment of that name, which must be one of these."""
        return next(recorded for recorded in self.experiments if recorded.name == name)

    @cached_property
    def objective(self) -> Objective:
        """The objective of all experiments. Raises QueryError if they have different ones."""
        first = self.experiments[0]
        for other in self.experiments[1:]:
            if other.objective != first.objective:
                raise QueryError(
                    f"{first.name} is ranked by {_said(first.objective)}, {other.name} by"
                    f" {_said(other.objective)}; their trials cannot be ranked together."
                    " Name experiments with the same objective"
                )
        return first.objective

    def check_definitions(self, metric: str) -> None:
        """Raise QueryError if the experiments define a metric differently."""
        first, *others = (recorded.experiment.workload for recorded in self.experiments)
        for recorded, other in zip(self.experiments[1:], others, strict=True):
            why = first.definitions.differs(metric, other.definitions, main=first.task.facts.main_metric)
            if why is not None:
                raise QueryError(
                    f"{metric} means one thing in {self.experiments[0].name} and another in {recorded.name}"
                    f" ({why}); their trials cannot be ranked together. Rank each experiment on its own, or"
                    " name a metric that both define alike with --metric"
                )

    def other_definitions(self) -> list[str]:
        """A sentence for each experiment with a metric that the first one defines differently."""
        found = []
        first, *others = (recorded.experiment.workload for recorded in self.experiments)
        for recorded, other in zip(self.experiments[1:], others, strict=True):
            differs = [
                why
                for name in (*first.task.facts.metrics, ROBUSTNESS)
                if (why := other.definitions.differs(name, first.definitions)) is not None
            ]
            if differs and other.task is first.task:
                found.append(
                    f"{recorded.name} defines metrics differently from {self.experiments[0].name}, so do not"
                    f" compare their values: {'; '.join(dict.fromkeys(differs))}"
                )
        return found

    def ask(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run one SELECT; a dotted column needs no quotes. Raises QueryError if it is wrong."""
        return self._answer(sql, self.run)

    def arrow(self, sql: str) -> Any:
        """The same as a pyarrow table."""
        return self._answer(
            sql, lambda asked: self._twice(lambda: self.connection.sql(asked).to_arrow_table())
        )

    def run(self, sql: Any) -> duckdb.DuckDBPyConnection:
        """Run our own SQL. Raises duckdb.Error."""
        return self._twice(lambda: self.connection.execute(sql))

    def _twice(self, how: Callable[[], Any]) -> Any:
        """Retry once if a driver has just merged, and removed, the parts that the views were made of."""
        import duckdb

        try:
            return how()
        except duckdb.IOException:
            known = list(self._columns)
            self._read_records(thorough=False)
            for view in known:
                self.columns_of(view)
            return how()

    def _answer(self, sql: str, how: Callable[[str], Any]) -> Any:
        import duckdb

        asked = with_quotes(sql, [name for view in named_in(sql) for name in self.columns_of(view)])
        try:
            statements = self.connection.extract_statements(asked)
            if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
                raise QueryError("a query is one SELECT; it cannot change the record")
            return how(statements[0].query)
        except duckdb.Error as error:
            views = named_in(sql) or VIEWS
            known = {view: self.columns_of(view) for view in views}
            raise QueryError(explain_sql_error(error, sql, known, VIEWS)) from error


def _said(objective: Objective) -> str:
    return f"{objective.metric} ({objective.direction.value}, {objective.rule.value} report)"


@contextmanager
def opened(
    folders: Sequence[Path], *, threads: int | None = None, tell: Callable[[str], None] | None = None
) -> Iterator[Source]:
    """The records in these folders, open for queries.

    tell: as for `Source`. Raises LedgerError if a record is missing or damaged.
    """
    experiments = [Recorded.at(folder) for folder in folders]
    with connect_duckdb(threads) as connection:
        source = Source(connection, experiments, tell)
        places = ", ".join(sql_text(str(folder.absolute() / FOLDER)) for folder in folders)
        connection.execute(f"SET allowed_directories = [{places}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield source


# --- views ------------------------------------------------------------------------------------


def named_in(sql: str) -> list[str]:
    """The views that a query may refer to."""
    return [view for view in VIEWS if view in sql.lower()]


def _setting_names() -> Collection[str]:
    from trainables.specs.trial import TrialConfig

    return TrialConfig.model_fields


def _short(columns: Sequence[str], settings: Collection[str]) -> list[str]:
    """`dice` for `metrics.dice`, unless a setting or another column has that name, as `loss` in trials."""
    taken = {name.lower() for name in (*columns, *settings)}
    metrics = {n.removeprefix("metrics."): n for n in columns if n.startswith("metrics.")}
    return [
        f"t.{sql_name(name)} AS {sql_name(short)}"
        for short, name in metrics.items()
        if short.lower() not in taken
    ]


def _read(
    recorded: Recorded, tell: Callable[[str], None] | None, *, thorough: bool
) -> tuple[Sequence[TablePart], Mapping[str, list[Row]]]:
    """The parts of a record, and the rows of the lines after them."""
    import duckdb

    folder = recorded.folder
    parts = valid_parts(folder, thorough=thorough)
    size = (folder / LEDGER).stat().st_size
    if size - (parts[-1].end if parts else 0) > BEHIND:
        if tell is not None:
            tell(f"{recorded.name}: compacting {size / 1e6:.0f} MB of record, once")
        tables = Tables(folder, recorded.experiment, recorded.header)
        # Suppressed: its driver writes them, nothing can be written here, or (duckdb.Error) the disk is full.
        try:
            with suppress(StorageError, OSError, duckdb.Error):
                tables.open(0.0)
                tables.catch_up()
        finally:
            tables.release()
        parts = valid_parts(folder)
    if parts and parts[-1].end == size:
        return parts, {table: [] for table in TABLES}
    return parts, resume_folding(folder, recorded.header, recorded.experiment, parts).take().rows


def _raw(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    parts: Sequence[TablePart],
    rows: Sequence[Row],
    table: str,
    index: int,
) -> str:
    """All rows of a table as one relation, including rows that no longer count."""
    files = table_files(folder.absolute(), parts, table)
    if not rows and files:
        return sql_parquet(files)
    create_table(connection, f"tail_{table}_{index}", rows, KINDS[table])
    if not files:
        return f"tail_{table}_{index}"
    return f"(SELECT * FROM {sql_parquet(files)} UNION ALL BY NAME SELECT * FROM tail_{table}_{index})"


def _valid(connection: duckdb.DuckDBPyConnection, table: str, raw: str, index: int) -> str:
    """The rows that count. Others are rare, so they are searched for once."""
    if table == "events":
        return raw
    gone = f"gone_{table}_{index}"
    rules = {
        "trials": (
            f"SELECT trial, max(upto) AS upto FROM {raw} GROUP BY trial HAVING count(*) > 1",
            "g.trial = r.trial AND r.upto < g.upto",
        ),
        "scores": (
            f"SELECT trial, max(byte) AS byte FROM {raw} GROUP BY trial HAVING count(*) > 1",
            "g.trial IS NOT DISTINCT FROM r.trial AND r.byte < g.byte",
        ),
        "epochs": (
            f"SELECT trial, byte, epoch FROM {raw} WHERE replaces",
            "g.trial = r.trial AND r.byte < g.byte AND r.epoch >= g.epoch",
        ),
    }
    found, which = rules[table]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {gone} AS {found}")
    if not connection.execute(f"SELECT 1 FROM {gone} LIMIT 1").fetchall():
        return raw
    return f"(SELECT r.* FROM {raw} AS r ANTI JOIN {gone} AS g ON {which})"


# --- names ------------------------------------------------------------------------------------

_WORDS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$(\w*)\$.*?\$\1\$
      | (?P<dotted>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)""",
    re.VERBOSE | re.DOTALL,
)


def with_quotes(sql: str, columns: Sequence[str]) -> str:
    """Quote dotted names that are columns, `lora.rank` as `"lora.rank"`, also after a table's name."""
    known = {name.lower(): name for name in columns if "." in name}

    def written(match: re.Match[str]) -> str:
        if match["dotted"] is None:
            return match[0]
        words = match["dotted"].split(".")
        for begin in range(len(words) - 1):
            name = known.get(".".join(words[begin:]).lower())
            if name is not None:
                return ".".join([*words[:begin], sql_name(name)])
        return match[0]

    return _WORDS.sub(written, sql)


def rows_of(answer: Any) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The columns and the rows of an answer."""
    return tuple(str(column[0]) for column in answer.description or ()), answer.fetchall()
