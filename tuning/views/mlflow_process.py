"""The process that writes MLflow's SQLite store; see `process_loop`. Started with FOLDER and a name.

Only MLflow's client is used: its fluent functions keep a state, and end a run as FINISHED when an exception
passes. A point is a key, a time, a step and a value, so the record's own times make a repetition harmless.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tuning.ledger.outcomes import Outcome
from tuning.views.mlflow_runs import DATABASE
from tuning.views.mlflow_text import VALUE_CHARS, fit, metric_name, value_text
from tuning.views.process_loop import End, Row, Start, own_pipes, serve
from tuning.views.torn_database import keep_if_readable, move_aside

TRIAL = "adaptertune.trial"
ENDED = ("outcome", "reason", "value")
"""What is known of a trial's end, in tags such as `adaptertune.outcome`."""
TAG_CHARS = 5000
METRICS_AT_ONCE = 1000
PARAMS_AT_ONCE = 100
"""MLflow takes no more in a batch."""
PAGE = 1000
STATUS = {
    Outcome.COMPLETED: "FINISHED",
    Outcome.EARLY_STOPPED: "FINISHED",
    Outcome.REUSED: "FINISHED",
    Outcome.PRUNED: "KILLED",
    Outcome.STOPPED: "KILLED",
    Outcome.FAILED: "FAILED",
    Outcome.DIVERGED: "FAILED",
}
"""MLflow's status of a run; that of an interrupted trial stays RUNNING, as the trial goes on later."""


class MlflowRuns:
    """Runs of one MLflow experiment in the current folder."""

    def __init__(self, experiment: str) -> None:
        self._client = _open_client()
        self._experiment = _experiment_id(self._client, experiment)
        self._ids: dict[int, str] = {}
        for run in self._active():
            number = int(run.data.tags[TRIAL])
            if number in self._ids:  # somebody restored a run that was replaced
                self._client.delete_run(run.info.run_id)
            else:
                self._ids[number] = run.info.run_id

    def there(self) -> list[int] | None:
        """See `RunWriter`."""
        return sorted(self._ids)

    def start(self, run: Start) -> None:
        """See `RunWriter`. A run that holds only what the record holds is kept; another is deleted."""
        params, tags = _params(run)
        old = self._ids.get(run.trial)
        if old is not None and self._agrees(old, params, run.rows):
            self._client.update_run(old, status="RUNNING")
            for name in ENDED:
                self._remove_tag(old, f"adaptertune.{name}")
        else:
            if old is not None:
                self._client.delete_run(old)
            self._ids[run.trial] = self._create(run, params, tags)
        self.log(run.trial, run.rows)

    def log(self, trial: int, rows: Sequence[Row]) -> None:
        """See `RunWriter`."""
        from mlflow.entities import Metric

        tags: dict[str, str] = {}
        metrics = []
        for row in rows:
            for name, value in row.metrics.items():
                key, more = metric_name(name)
                tags |= more
                metrics.append(Metric(key, float(value), _ms(row.time), row.step))
        self._write(self._ids[trial], metrics=metrics, tags=tags)

    def end(self, end: End) -> None:
        """See `RunWriter`."""
        tags = {f"adaptertune.{name}": value_text(value) for name, value in end.facts.items()}
        run_id = self._ids[end.trial]
        for name, text in list(tags.items()):
            tags[name], more = fit(text, TAG_CHARS)
            tags |= more
        self._write(run_id, tags=tags)
        if end.outcome in STATUS:
            self._client.set_terminated(run_id, STATUS[end.outcome], _ms(end.time))

    def close(self) -> None:
        """See `RunWriter`. Everything is written already."""

    # --- the store ----------------------------------------------------------------------------

    def _active(self) -> Iterator[Any]:
        """All runs of trials that are not deleted, the latest first."""
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=PAGE, page_token=token)
            yield from (run for run in page if run.data.tags.get(TRIAL, "").isdigit())
            if not (token := page.token):
                return

    def _agrees(self, run_id: str, params: Mapping[str, str], rows: Sequence[Row]) -> bool:
        """Whether a run has these parameters and no other points. Each report has an `epoch`."""
        if self._client.get_run(run_id).data.params != params:
            return False
        key, _ = metric_name("epoch")
        points = self._client.get_metric_history(run_id, key)
        ours = {(_ms(row.time), row.step, row.metrics.get("epoch")) for row in rows}
        return {(point.timestamp, point.step, point.value) for point in points} <= ours

    def _create(self, run: Start, params: Mapping[str, str], tags: Mapping[str, str]) -> str:
        from mlflow.entities import Param

        created = self._client.create_run(
            self._experiment, _ms(run.began), tags={TRIAL: str(run.trial)}, run_name=run.name
        )
        run_id = str(created.info.run_id)
        self._write(run_id, params=[Param(key, value) for key, value in params.items()], tags=tags)
        return run_id

    def _remove_tag(self, run_id: str, name: str) -> None:
        if name in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, name)

    def _write(
        self,
        run_id: str,
        *,
        metrics: Sequence[Any] = (),
        params: Sequence[Any] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import RunTag

        # Tags first: they explain the names that the metrics use.
        named = [RunTag(name, value) for name, value in (tags or {}).items()]
        for part in _parts(named, PARAMS_AT_ONCE):
            self._client.log_batch(run_id, tags=part)
        for part in _parts(params, PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=part)
        for part in _parts(metrics, METRICS_AT_ONCE):
            self._client.log_batch(run_id, metrics=part)


def _open_client() -> Any:
    """A client of the store in the current folder, whose path a URL could not always hold."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    path = Path(DATABASE)
    if keep_if_readable(path):
        try:
            return MlflowClient(f"sqlite:///{DATABASE}")
        except MlflowException as error:
            if "schema" not in str(error):
                raise
            move_aside(path)  # of another version of MLflow, which `mlflow db upgrade` would change
    _create(path)
    # Another spelling of its name: MLflow keeps connections by URL, and one may be to a file that was moved.
    return MlflowClient(f"sqlite:///./{DATABASE}")


def _create(path: Path) -> None:
    """Create an empty store. MLflow cannot go on with half of one, so it gets its name when it is done.

    Hundreds of migrations would each wait for the disk; it is waited for once, at the end.
    """
    from mlflow import MlflowClient
    from sqlalchemy import Engine, event

    def do_not_wait(connection: Any, _: Any) -> None:
        connection.execute("pragma synchronous = off")

    new = path.with_name(f"creating-{path.name}")
    for left in new.parent.glob(f"{new.name}*"):
        left.unlink()
    event.listen(Engine, "connect", do_not_wait)
    MlflowClient(f"sqlite:///{new}")
    event.remove(Engine, "connect", do_not_wait)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)


def _experiment_id(client: Any, name: str) -> str:
    """The experiment of this name. A deleted one would block its name, so it is restored."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=Path("artifacts").absolute().as_uri()))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _params(run: Start) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of a trial as MLflow has them, and the tags of those that are too long."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for name, value in run.params.items():
        key, of_name = metric_name(name)
        params[key], of_value = fit(value_text(value), VALUE_CHARS)
        tags |= of_name | of_value
    return params, tags


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


if __name__ == "__main__":
    pipes = own_pipes()
    here = Path(sys.argv[1])
    os.chdir(here)
    serve(here, pipes, lambda: MlflowRuns(sys.argv[2]))
