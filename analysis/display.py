"""How results are displayed: as a line, and as HTML in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from analysis.errors import NothingToRankError
from analysis.query.sql import Source, opened
from analysis.query.sweep import Sweep, failure_lines
from analysis.ranking.best import Ranking, best_of, finished_first
from analysis.ranking.by_adapter import adapter_table, against_baseline
from analysis.ranking.rank_by_sql import best_in
from analysis.tables import Table
from trainables.wording import counts_in_words, plural
from tuning.formatting import format_drawn
from tuning.ledger.driver_state import driver_state
from tuning.ledger.ledger import last_record
from tuning.ledger.records import ClosedRecord
from tuning.ledger.storage import python_name

MOST_EXPERIMENTS = 50
"""How many rows a table of experiments has."""


def state_of(folder: Path) -> str:
    """`running`, `finished`, `interrupted`, `failed`, or `died` if the driver did not close the record.

    `unknown` if its driver cannot be seen from here, where the folder can only be read.

    Raises LedgerError if its last line is damaged.
    """
    last = last_record(folder)
    if isinstance(last, ClosedRecord):
        return str(last.reason)
    seen = driver_state(folder)
    return str(seen) if seen.may_run else "died"


def states(folders: Sequence[Path]) -> str:
    """The state of one experiment, or of several by count: `2 finished, 1 running`."""
    found = [state_of(folder) for folder in folders]
    return found[0] if len(found) == 1 else _counts(found)


def line_of(folders: Sequence[Path]) -> str:
    """`Results('pets': finished, 24 trials, best dice 0.7466 of trial 5)`."""
    names = repr(folders[0].name) if len(folders) == 1 else plural(len(folders), "experiment")
    with opened(folders) as source:
        trials = sum(_outcomes(source).values())
        best = _best(source) if len(folders) == 1 and trials else ""
    said = filter(None, (states(folders), plural(trials, "trial"), best))
    return f"Results({names}: {', '.join(said)})"


def html_of(folders: Sequence[Path]) -> str:
    """State, best configuration, a table by adapter and failures; of several experiments a table of them."""
    if len(folders) > 1:
        return _several(folders)
    folder = folders[0]
    sweep = Sweep.at(folder)
    state = state_of(folder)
    counts = _counts(trial.shown for trial in sweep.trials)
    parts = [f"<p><b>{escape(folder.name)}</b>: {state}, {escape(counts) or 'no trial yet'}</p>"]
    if state in ("interrupted", "died", "failed"):
        parts.append(
            f"<p>Continue it with <code>adaptertune.resume({escape(python_name(folder))})</code></p>"
        )
    ranking = finished_first(sweep)
    if ranking.ranked:
        parts += [*_best_configuration(sweep, ranking), _table(adapter_table(sweep))]
    return "\n".join(["<div>", *parts, *_failures(sweep), "</div>"])


def _best_configuration(sweep: Sweep, ranking: Ranking) -> Iterable[str]:
    trial, standing = best_of(ranking)
    metric = sweep.objective.metric
    at = f"{metric} {standing.value:.4f} at epoch {standing.epoch:g} of {trial.epochs:g}"
    yield f"<p><b>best configuration: trial {trial.number}, {escape(at)}</b><br>{escape(ranking.caption)}"
    if verdict := against_baseline(sweep, standing.value):
        yield f"<br>{escape(verdict)}"
    yield "</p>"
    rows = [(name, format_drawn(name, value, trial.rates)) for name, value in trial.params.items()]
    yield _rows(("setting", "value"), rows)


def _failures(sweep: Sweep) -> Iterable[str]:
    texts = failure_lines(sweep)
    if texts:
        yield f"<p><b>failures</b></p><ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def _several(folders: Sequence[Path]) -> str:
    rows = []
    for folder in folders[:MOST_EXPERIMENTS]:
        with opened([folder]) as source:
            counts = _outcomes(source)
            best = _best(source) if counts else ""
        rows.append((folder.name, state_of(folder), counts_in_words(counts), best))
    more = len(folders) - len(rows)
    table = _rows(("experiment", "state", "trials", "best"), rows)
    return f"<div>{table}{f'<p>… and {more} more</p>' if more else ''}</div>"


def _outcomes(source: Source) -> dict[str, int]:
    asked = "SELECT outcome, count(*) FROM trials GROUP BY outcome ORDER BY outcome"
    return dict(source.ask(asked).fetchall())


def _best(source: Source) -> str:
    """`best dice 0.7466 of trial 5`; empty if no trial can be ranked."""
    try:
        recorded, trial, ranking = best_in(source)
    except NothingToRankError:
        return ""
    return f"best {recorded.objective.metric} {ranking.ranked[0][1].value:.4f} of trial {trial.number}"


def _counts(outcomes: Iterable[str]) -> str:
    return counts_in_words(dict(sorted(Counter(outcomes).items())))


def _table(table: Table) -> str:
    caption = f"<p>{escape(table.caption)}</p>" if table.caption else ""
    return f"<p><b>{escape(table.title)}</b></p>{_rows(table.columns, table.rows, table.numeric)}{caption}"


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    def cells(kind: str, values: Sequence[str]) -> str:
        sides = ["right" if i in numeric else "left" for i in range(len(values))]
        return "".join(
            f'<{kind} style="text-align: {side}">{escape(value)}</{kind}>'
            for side, value in zip(sides, values, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', columns)}</tr></thead><tbody>{body}</tbody></table>"
