"""Puts DuckDB's errors about a user's SQL into words: the name that is wrong, and the one that was meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tuning.experiment.file_errors import closest_name

MOST_LISTED = 24
"""The most columns that a message lists."""
_MOST_MEANT = 3

_COLUMN = re.compile(r'Referenced column "(.+?)" not found|does not have a column named "(.+?)"')
_TABLE_OF_COLUMN = re.compile(r'Referenced table "(.+?)" not found')
_TABLE = re.compile(r"Table with name (\S+) does not exist")


def explain_sql_error(
    error: Exception, sql: str, columns: Mapping[str, Sequence[str]], tables: Sequence[str] = ()
) -> str:
    """What is wrong with `sql`, as a clause without a full stop, or a question.

    columns: the names by table, of the tables that the query reads.  tables: the names of all tables.
    """
    text = str(error)
    if (name := _unknown_column(text, sql)) is not None:
        return _no_column(name, sql, columns)
    if (match := _TABLE.search(text)) is not None:
        name = match[1].strip('"')
        close = closest_name(name, tables)
        way = f"did you mean '{close}'?" if close is not None else f"the tables are {', '.join(tables)}"
        return f"there is no table '{name}'; {way}"
    return duckdb_reason(error)


def duckdb_reason(error: Exception) -> str:
    """DuckDB's error message without the query and the hints."""
    return " ".join(str(error).split("\n\n")[0].split("\nLINE")[0].split()).rstrip(".!")


def _unknown_column(text: str, sql: str) -> str | None:
    """The name of a column that DuckDB does not find. It reads `lora.rnk` as a column of a table `lora`."""
    match = _COLUMN.search(text) or _TABLE_OF_COLUMN.search(text)
    if match is None:
        return None
    name = next(group for group in match.groups() if group is not None)
    dotted = re.search(rf"(?<!\.)\b(?:\w+\.)?({re.escape(name)}(?:\.\w+)+)", sql)
    return dotted[1] if dotted is not None else name


def _no_column(name: str, sql: str, columns: Mapping[str, Sequence[str]]) -> str:
    known = list(dict.fromkeys(column for names in columns.values() for column in names))
    # In SQL double quotes are for names: `adapter = "lora"` asks for a column, as `adapter = lora` does.
    is_text = re.search(rf"""=\s*"?{re.escape(name)}"?(?![\w.])""", sql) is not None
    quoted = f"; if it is text, write '{name}' in single quotes" if is_text else ""
    meant = _meant(name, known)
    if meant:
        return f"there is no column '{name}'{quoted}; did you mean {' or '.join(map(repr, meant))}?"
    listed = ", ".join(known[:MOST_LISTED])
    if (more := len(known) - MOST_LISTED) > 0:
        listed += f", and {more} more, which `adaptertune query NAME` or `columns` in Python lists"
    return f"there is no column '{name}'{quoted}; the columns of {' and '.join(columns)} are {listed}"


def _meant(name: str, known: Sequence[str]) -> list[str]:
    """The columns that were probably meant: `rank` may be `lora.rank` or `adalora.rank`."""
    last = [column for column in known if column.lower().endswith(f".{name.lower()}")]
    if 0 < len(last) <= _MOST_MEANT:
        return last
    # After a table's own name, as in `t.dicee`, the rest is the column.
    for part in (name, name.partition(".")[2]):
        if part and (close := closest_name(part, known)) is not None:
            return [close]
    return []
