"""The record compacted into Parquet files: a view in the folder `tables/`, rebuilt if it is deleted.

    tables/000000000000-000001048891/{trials,epochs,events,scores}.parquet, part.json

A part contains the rows (`tuning.tables.rows`) of a range of bytes of the record; the folder's name and
`part.json` give the range. A table without rows has no file. Parts are written under a temporary name and
then renamed, and never change. Eight adjacent parts of the same size level are merged into one, so a
record of n MiB has at most about 8·(2 + log₈ n) parts, and a row is written at most 2 + log₈ n times.
A part that does not match the record (of another record, torn, after a gap) is ignored and written again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import StorageError
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.ledger import LEDGER
from tuning.ledger.records import ExperimentRecord, Record
from tuning.tables.folding import Folding, RowBatch
from tuning.tables.relations import connect_duckdb, create_table, sql_parquet, sql_text
from tuning.tables.rows import KINDS, TABLES

if TYPE_CHECKING:
    import duckdb
    from filelock import FileLock

FOLDER = "tables"
LOCK = ".lock"
PART = "part.json"
PART_BYTES = 1 << 18
"""Bytes of the record in one part; readers process the bytes after the last part themselves."""
FAN = 8
"""The number of parts of the same size level that are merged into one."""
WHOLE = 4 << 20
"""The most bytes of the record that are processed at once when the tables are far behind."""
GROUP_ROWS = 20_480
"""Rows in a Parquet row group: several cores can read one file, and a few rows need only a part of it."""
LOCK_S = 5.0
"""How long a driver waits for a reader that writes parts."""
READ_S = 30.0
"""How long merged parts are kept for readers that have already opened them."""
_WRITING = ".writing-"
_SEEN = 256
"""The number of the record's bytes before a part's end that its checksum covers."""
_SCHEMA = 1


@dataclass(frozen=True)
class TablePart:
    """A part on disk, as described in its `part.json`.

    highest, open: as in `RowBatch`, at `end`.  check: the checksum of the record's last bytes before `end`.
    files, sums: the size in bytes and the checksum of each table's file.
    """

    start: int
    end: int
    highest: int
    open: Mapping[int, int]
    check: int
    files: Mapping[str, int]
    sums: Mapping[str, int]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.start:012d}-{self.end:012d}"

    @property
    def size(self) -> int:
        """The level of its size; parts of the same level are merged."""
        level, bound = 0, PART_BYTES * FAN
        while self.end - self.start >= bound:
            level, bound = level + 1, bound * FAN
        return level


# --- reading ----------------------------------------------------------------------------------


def valid_parts(experiment: Path, *, thorough: bool = False) -> tuple[TablePart, ...]:
    """The parts that match the record, from its first byte on and without a gap.

    thorough: check the checksums of whole files, not only their lengths and last bytes.
    """
    found: dict[int, TablePart] = {}
    try:
        names = os.listdir(experiment / FOLDER)
        record = (experiment / LEDGER).open("rb")
    except OSError:
        return ()
    with record:
        for name in names:
            part = _read(experiment / FOLDER / name)
            if part is None or _check(record, part.end) != part.check:
                continue
            if not _whole(experiment / FOLDER / name, part, thorough):
                continue
            # A merged part replaces the parts that it was made of.
            if part.start not in found or found[part.start].end < part.end:
                found[part.start] = part
    parts: list[TablePart] = []
    while (part := found.get(parts[-1].end if parts else 0)) is not None:
        parts.append(part)
    return tuple(parts)


def _read(folder: Path) -> TablePart | None:
    if re.fullmatch(r"\d{12,}-\d{12,}", folder.name) is None:
        return None
    try:
        fields = json.loads((folder / PART).read_text())
        if fields.pop("schema") != _SCHEMA:
            return None
        fields["open"] = {int(number): int(byte) for number, byte in fields["open"].items()}
        part = TablePart(**fields)
        return part if part.name == folder.name and part.start < part.end else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _check(record: Any, end: int) -> int | None:
    """The checksum of the record's bytes just before `end`; None if no line ends there."""
    begin = max(0, end - _SEEN)
    record.seek(begin)
    seen = record.read(end - begin)
    return zlib.crc32(seen) if len(seen) == end - begin and seen.endswith(b"\n") else None


def _whole(folder: Path, part: TablePart, thorough: bool) -> bool:
    """Whether the files of a part are intact."""
    try:
        for table, size in part.files.items():
            path = folder / f"{table}.parquet"
            with path.open("rb") as file:
                if file.seek(0, os.SEEK_END) != size or size < 8:
                    return False
                file.seek(-4, os.SEEK_END)
                if file.read() != b"PAR1":
                    return False
            if thorough and zlib.crc32(path.read_bytes()) != part.sums[table]:
                return False
    except (OSError, ValueError, KeyError):
        return False
    return True


# --- writing ----------------------------------------------------------------------------------


class Tables:
    """Keeps `tables/` up to date with a growing record, as one of the driver's views."""

    title = "the Parquet tables"

    def __init__(self, folder: Path, experiment: Experiment, header: ExperimentRecord) -> None:
        self.folder = folder
        self._experiment = experiment
        self._header = header
        self._parts: list[TablePart] = []
        self._folding: Folding | None = None
        self._lock: FileLock | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._merged_away: list[tuple[float, str]] = []

    def begin(self, history: History) -> None:
        """Write all missing parts. Raises StorageError if another process is writing them."""
        self.open(LOCK_S)
        self.catch_up()

    def observe(self, record: Record) -> None:
        """Do nothing: the view reads the record's file, which has the record already."""

    def settle(self) -> None:
        """Write a part if there are enough new records for one."""
        if self._folding is not None and self._behind() >= PART_BYTES:
            self.catch_up()

    def close(self) -> None:
        """Write the remaining records; may be called twice."""
        try:
            if self._folding is not None and self._behind():
                self.catch_up()
        finally:
            self.release()

    def abandon(self) -> None:
        """Write nothing more, and release the lock: another driver writes the tables now."""
        self._merged_away = []
        self.release()

    def release(self) -> None:
        """Release the lock so that another process can write; may be called twice.

        Merged parts that a reader may still use are removed by the next `open`.
        """
        self._folding = None
        self._tidy()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def open(self, timeout_s: float) -> None:
        """Lock and load the existing parts. Raises StorageError if another process writes them, OSError."""
        from filelock import FileLock, Timeout

        folder = self.folder / FOLDER
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=timeout_s, poll_interval=0.05)
        except Timeout as error:
            raise StorageError(f"another process is writing {folder}") from error
        self._lock = lock
        self._parts = list(valid_parts(self.folder, thorough=True))
        kept = {part.name for part in self._parts}
        for path in folder.iterdir():
            if path.name not in kept and (path.name.startswith(_WRITING) or path.name[:1].isdigit()):
                shutil.rmtree(path, ignore_errors=True)
        self._folding = resume_folding(self.folder, self._header, self._experiment, self._parts)

    def catch_up(self) -> None:
        """Write parts up to the end of the record."""
        assert self._folding is not None
        self._tidy()
        while self._behind():
            batch = self._folding.take(WHOLE)
            if batch.end == batch.start:  # the next line is still incomplete
                return
            self._parts.append(self._write(batch))
            while len(last := self._parts[-FAN:]) == FAN and len({part.size for part in last}) == 1:
                self._parts[-FAN:] = [self._merged(last)]

    def _behind(self) -> int:
        assert self._folding is not None
        return (self.folder / LEDGER).stat().st_size - self._folding.at

    def _write(self, batch: RowBatch) -> TablePart:
        connection = self._connected()
        with self._part(batch.start, batch.end) as folder:
            for table, rows in batch.rows.items():
                if rows:
                    create_table(connection, table, rows, KINDS[table])
                    _copy(connection, f'FROM "{table}"', folder / f"{table}.parquet")
                    connection.execute(f'DROP TABLE "{table}"')
            return self._finish(folder, batch.start, batch.end, batch.highest, batch.open)

    def _merged(self, parts: Sequence[TablePart]) -> TablePart:
        """Merge adjacent parts into one, which replaces them."""
        first, last = parts[0], parts[-1]
        connection = self._connected()
        with self._part(first.start, last.end) as folder:
            for table in TABLES:
                files = table_files(self.folder, parts, table)
                if files:
                    rows = f"SELECT * FROM {sql_parquet(files)}"
                    if table == "trials":  # only the newest row of each trial is needed
                        connection.execute(
                            f"CREATE OR REPLACE TEMP TABLE newest AS SELECT trial, max(upto) AS upto"
                            f" FROM {sql_parquet(files)} GROUP BY trial"
                        )
                        rows += " SEMI JOIN newest USING (trial, upto)"
                    _copy(connection, rows, folder / f"{table}.parquet")
            merged = self._finish(folder, first.start, last.end, last.highest, last.open)
        self._merged_away += [(time.monotonic(), part.name) for part in parts]
        return merged

    def _tidy(self) -> None:
        """Remove merged parts once no reader can be using them."""
        before = time.monotonic() - READ_S
        for since, name in self._merged_away:
            if since <= before:
                shutil.rmtree(self.folder / FOLDER / name, ignore_errors=True)
        self._merged_away = [(since, name) for since, name in self._merged_away if since > before]

    def _connected(self) -> duckdb.DuckDBPyConnection:
        """A database in memory, kept open because creating one takes longer than writing a part."""
        if self._connection is None:
            self._connection = connect_duckdb(threads=1, caches=False)
        return self._connection

    @contextmanager
    def _part(self, start: int, end: int) -> Iterator[Path]:
        """A temporary folder for a new part, removed on failure."""
        folder = self.folder / FOLDER / f"{_WRITING}{start}-{end}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _finish(
        self, folder: Path, start: int, end: int, highest: int, open_: Mapping[int, int]
    ) -> TablePart:
        """Write `part.json` into a filled folder and rename the folder."""
        with (self.folder / LEDGER).open("rb") as record:
            check = _check(record, end)
        if check is None:
            raise StorageError(f"{self.folder / LEDGER} was changed by something else")
        content = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
        sizes = {table: len(data) for table, data in content.items()}
        sums = {table: zlib.crc32(data) for table, data in content.items()}
        part = TablePart(start, end, highest, dict(open_), check, sizes, sums)
        (folder / PART).write_text(json.dumps({"schema": _SCHEMA, **asdict(part)}))
        place = self.folder / FOLDER / part.name
        shutil.rmtree(place, ignore_errors=True)
        folder.rename(place)
        return part


def resume_folding(
    folder: Path, header: ExperimentRecord, experiment: Experiment, parts: Sequence[TablePart]
) -> Folding:
    """A `Folding` that continues at the end of the parts."""

    def began(numbers: Collection[int]) -> dict[int, int]:
        files = table_files(folder, parts, "trials")
        if not files:
            return {}
        asked = ", ".join(str(number) for number in numbers)
        with connect_duckdb(threads=1) as connection:
            found = connection.execute(
                f"SELECT trial, min(from_byte) FROM {sql_parquet(files)}"
                f" WHERE trial IN ({asked}) GROUP BY trial"
            ).fetchall()
        return dict(found)

    last = parts[-1] if parts else None
    given = (folder, experiment, History(header), began)
    return Folding(*given, last.end, last.highest, dict(last.open)) if last else Folding(*given)


def table_files(folder: Path, parts: Sequence[TablePart], table: str) -> list[Path]:
    """The Parquet files of a table, in the order of the record."""
    return [folder / FOLDER / part.name / f"{table}.parquet" for part in parts if table in part.files]


def _copy(connection: duckdb.DuckDBPyConnection, rows: str, path: Path) -> None:
    connection.execute(
        f"COPY ({rows}) TO {sql_text(str(path))}"
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS})"
    )
