"""The process that writes Trackio's store; see `process_loop`. Started with FOLDER and the experiment's name.

It calls Trackio's storage directly. `trackio.init` starts a server, holds points back for half a second,
which are lost if the process dies, and stamps them with its own times, so that a repetition doubles them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tuning.views.names import TRACKIO, trackio_project
from tuning.views.process_loop import End, Row, Start, own_pipes, serve
from tuning.views.torn_database import keep_if_readable
from tuning.views.trackio_values import trackio_value

OWN = "adaptertune."
"""Before the keys of a run's configuration that are no parameters: trial, outcome, reason, value."""


class TrackioRuns:
    """Runs of one project of Trackio."""

    def __init__(self, experiment: str) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        self._storage = SQLiteStorage
        self._project = trackio_project(experiment)
        keep_if_readable(SQLiteStorage.get_project_db_path(self._project))
        self._runs: dict[int, Start] = {}

    def there(self) -> list[int] | None:
        """See `RunWriter`."""
        records = self._storage.get_run_records(self._project)
        ends = [str(record["id"]).rpartition("-")[2] for record in records]
        return sorted(int(end) for end in ends if end.isdigit())

    def start(self, run: Start) -> None:
        """See `RunWriter`. Points cannot be taken back one by one, so the run is written again."""
        exists = self._storage.get_project_db_path(self._project).is_file()
        if exists and not self._storage.delete_run(self._project, run.name, run_id=run.id):
            raise OSError(f"cannot write run {run.name} again: Trackio could not delete it")
        self._runs[run.trial] = run
        # A point without values: Trackio knows a run, and its configuration, from its first point on.
        self._add(run, [Row(0, run.began, {}), *run.rows], {})

    def log(self, trial: int, rows: Sequence[Row]) -> None:
        """See `RunWriter`."""
        self._add(self._runs[trial], rows)

    def end(self, end: End) -> None:
        """See `RunWriter`."""
        run = self._runs.pop(end.trial)
        self._add(run, [Row(0, run.began, {})], end.facts)

    def close(self) -> None:
        """See `RunWriter`. Everything is written already."""

    def _add(self, run: Start, rows: Sequence[Row], facts: Mapping[str, JsonValue] | None = None) -> None:
        """Add points, and write the configuration again if there are facts about the run.

        A point that is there already, by its log id, is left out.
        """
        self._storage.bulk_log(
            self._project,
            run.name,
            [{TRACKIO.encode(name): value for name, value in row.metrics.items()} for row in rows],
            steps=[row.step for row in rows],
            timestamps=[datetime.fromtimestamp(row.time, UTC).isoformat() for row in rows],
            config=None if facts is None else _config(run, facts),
            log_ids=[f"{run.id}/{row.step}/{row.time!r}/{len(row.metrics)}" for row in rows],
            run_id=run.id,
        )


def _config(run: Start, facts: Mapping[str, JsonValue]) -> dict[str, Any]:
    params = {TRACKIO.encode(name): trackio_value(value) for name, value in run.params.items()}
    own = {"trial": run.trial} | dict(facts)
    return params | {f"{OWN}{name}": trackio_value(value) for name, value in own.items()}


if __name__ == "__main__":
    pipes = own_pipes()
    here = Path(sys.argv[1])
    os.chdir(here)
    serve(here, pipes, lambda: TrackioRuns(sys.argv[2]))
