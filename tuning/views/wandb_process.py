"""The process that runs wandb; see `process_loop`. Started with FOLDER, MODE and what all runs share."""

from __future__ import annotations

import json
import netrc
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tuning.experiment.sections.views import WandbMode
from tuning.views.names import WANDB
from tuning.views.process_loop import End, Row, Start, own_pipes, serve


class WandbRuns:
    """Runs that wandb writes. common: their project, entity, group and task."""

    def __init__(self, folder: Path, mode: WandbMode, common: Mapping[str, Any]) -> None:
        import wandb

        self._wandb = wandb
        self._folder = folder
        self._mode = _wandb_mode(mode)
        self._common = common
        self._runs: dict[int, Any] = {}

    def there(self) -> list[int] | None:
        """See `RunWriter`. Runs on a server are taken for granted."""
        return None

    def start(self, run: Start) -> None:
        """See `RunWriter`. A run on a server keeps the points that it has: wandb never goes back a step."""
        if run.trial in self._runs:
            self._runs.pop(run.trial).finish(exit_code=1)
        for old in self._folder.glob(f"offline-run-*-{run.id}"):
            if not list(old.glob("*.synced")):
                shutil.rmtree(old, ignore_errors=True)
        params = {WANDB.encode(name): value for name, value in run.params.items()}
        self._runs[run.trial] = self._wandb.init(
            project=self._common["project"],
            entity=self._common["entity"],
            group=self._common["group"],
            name=run.name,
            id=run.id,
            config=params | {"trial": run.trial, "task": self._common["task"]},
            dir=str(self._folder.parent),
            mode=self._mode,
            resume=None if self._mode == "offline" else "allow",
            reinit="create_new",  # the default would give the run of another trial that is still open
            settings=_quiet(self._wandb),
        )
        self.log(run.trial, run.rows)

    def log(self, trial: int, rows: Sequence[Row]) -> None:
        """See `RunWriter`."""
        for row in rows:
            metrics = {WANDB.encode(name): value for name, value in row.metrics.items()}
            self._runs[trial].log(metrics, step=row.step)

    def end(self, end: End) -> None:
        """See `RunWriter`."""
        run = self._runs.pop(end.trial)
        run.summary.update(end.facts)
        run.finish(exit_code=int(end.lost))

    def close(self) -> None:
        """See `RunWriter`."""
        for run in self._runs.values():
            run.finish(exit_code=1)
        self._wandb.teardown()


def _quiet(wandb: Any) -> Any:
    """Settings that send nothing about the machine, code or terminal: the record has what matters."""
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        init_timeout=30.0,
    )


def _wandb_mode(mode: WandbMode) -> Literal["online", "offline"] | None:
    """The mode for wandb; None leaves it to the environment variable WANDB_MODE."""
    if mode is not WandbMode.AUTO:
        return "online" if mode is WandbMode.ONLINE else "offline"
    if os.environ.get("WANDB_MODE"):
        return None
    return "online" if logged_in() else "offline"


def logged_in() -> bool:
    """Whether an API key is available, in the environment or from `wandb login`."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    for path in filter(None, (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")):
        with suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(os.path.expanduser(path)).authenticators(urlsplit(server).hostname or ""):
                return True
    return False


if __name__ == "__main__":
    pipes = own_pipes()
    here = Path(sys.argv[1])
    serve(here, pipes, lambda: WandbRuns(here, WandbMode(sys.argv[2]), json.loads(sys.argv[3])))
