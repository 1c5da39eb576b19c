"""What `analysis.open` returns: an experiment's record as data frames, for notebooks and scripts.

Every call reads the record as it is then, so the results of a running sweep may be read again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from analysis.display import html_of, line_of, states
from analysis.errors import QueryError
from analysis.query.sql import opened
from trainables.errors import AdaptertuneError
from tuning.messages import say

if TYPE_CHECKING:
    import pandas
    import polars

    from analysis.ranking.best import Ranking

Engine = Literal["pandas", "polars"]
"""What frames are made with; polars must be installed for the second."""


@dataclass(frozen=True, repr=False)
class Results:
    """One experiment's record, or several. In a notebook it displays itself."""

    folders: tuple[Path, ...]

    def __post_init__(self) -> None:
        with opened(self.folders):  # a damaged record is reported now
            pass

    def __repr__(self) -> str:
        """State, number of trials and the best one; never an error."""
        return self._shown(line_of) or f"Results({', '.join(map(str, self.folders))})"

    def _repr_html_(self) -> str | None:
        """State, best configuration, a table by adapter, failures; nothing if it cannot be read now."""
        return self._shown(html_of)

    def _shown(self, how: Callable[[Sequence[Path]], str]) -> str | None:
        """What is displayed; None if the record cannot be read now, as after its folder was removed."""
        try:
            return how(self.folders)
        except (AdaptertuneError, OSError):
            return None

    @property
    def state(self) -> str:
        """`running`, `finished`, `interrupted`, `failed`, `died` or `unknown`.

        Of several experiments the number of each: `2 finished, 1 running`.
        """
        return states(self.folders)

    @property
    def names(self) -> tuple[str, ...]:
        """The experiments' names."""
        return tuple(folder.name for folder in self.folders)

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The columns of trials, epochs and events."""
        with opened(self.folders) as source:
            return dict(source.columns)

    @property
    def trials(self) -> pandas.DataFrame:
        """A row for each trial."""
        return self.query("SELECT * FROM trials ORDER BY experiment, trial")

    @property
    def epochs(self) -> pandas.DataFrame:
        """A row for each report."""
        return self.query("SELECT * FROM epochs ORDER BY experiment, trial, epoch")

    @property
    def events(self) -> pandas.DataFrame:
        """A row for each other record: decisions, failures, resumptions, scores."""
        return self.query("SELECT * FROM events")

    @overload
    def query(self, sql: str) -> pandas.DataFrame: ...
    @overload
    def query(self, sql: str, engine: Literal["pandas"]) -> pandas.DataFrame: ...
    @overload
    def query(self, sql: str, engine: Literal["polars"]) -> polars.DataFrame: ...
    def query(self, sql: str, engine: Engine = "pandas") -> Any:
        """The rows of one SELECT over trials, epochs and events. Raises QueryError if it is wrong.

        Experiments whose metrics mean something else than those of the first one are named on standard error.
        """
        with opened(self.folders) as source:
            for difference in source.other_definitions():
                say(difference)
            return _polars().from_arrow(source.arrow(sql)) if engine == "polars" else source.ask(sql).df()

    @overload
    def best(
        self,
        k: int = 10,
        *,
        where: str | None = None,
        metric: str | None = None,
        at: float | None = None,
        early_stopped: bool = False,
    ) -> pandas.DataFrame: ...
    @overload
    def best(
        self,
        k: int = 10,
        *,
        where: str | None = None,
        metric: str | None = None,
        at: float | None = None,
        early_stopped: bool = False,
        engine: Literal["polars"],
    ) -> polars.DataFrame: ...
    def best(
        self,
        k: int = 10,
        *,
        where: str | None = None,
        metric: str | None = None,
        at: float | None = None,
        early_stopped: bool = False,
        engine: Engine = "pandas",
    ) -> Any:
        """The best `k` trials, as `adaptertune best` ranks them, with their whole configuration.

        where: a condition in SQL.  metric: another metric than the objective.  at: an epoch; all trials are
        ranked by what they had reached there.  early_stopped: rank trials too that did not run to their
        own end.  Raises QueryError for a wrong condition or an unknown metric. The frame is empty if no
        trial can be ranked; `ranking` gives the reason.
        """
        from analysis.ranking.best_table import best_rows

        ranking = self.ranking(k, where=where, metric=metric, at=at, early_stopped=early_stopped)
        rows = best_rows(ranking, k)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        data = {column: [row.get(column) for row in rows] for column in columns}
        return _polars().DataFrame(data, strict=False) if engine == "polars" else _pandas().DataFrame(data)

    def ranking(
        self,
        k: int = 10,
        *,
        where: str | None = None,
        metric: str | None = None,
        at: float | None = None,
        early_stopped: bool = False,
    ) -> Ranking:
        """The same as values, with the rule of the order (`caption`) and what was left out."""
        from analysis.ranking.rank_by_sql import rank_by_sql

        if k < 1:
            raise QueryError(f"k must be a whole number from 1 on, got {k}")
        with opened(self.folders) as source:
            return rank_by_sql(source, k, metric=metric, where=where, at=at, early_stopped=early_stopped)


def _pandas() -> Any:
    import pandas

    return pandas


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise QueryError(
            "engine='polars' needs polars, which is not installed: pip install polars"
        ) from error
    return polars
