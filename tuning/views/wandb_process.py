"""The process that runs wandb, controlled by lines of JSON on standard input. Started with FOLDER and MODE.

It ends at most a minute after its input ends, whatever the network does.
"""

from __future__ import annotations

import json
import netrc
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tuning.experiment.sections.views import WandbMode
from tuning.views.wandb_runs import FOLDER
from tuning.views.written_marks import Written

LINGERS_S = 60.0
"""How long the process may live after the driver's last line."""


def write_runs(folder: Path, mode: WandbMode) -> None:
    """Carry out the commands from standard input until it ends, then finish all open runs."""
    import wandb

    done = Written(folder / FOLDER)
    runs: dict[int, Any] = {}
    wandb_mode = _wandb_mode(mode)
    for line in sys.stdin:
        command = json.loads(line)
        match command["do"]:
            case "start":
                runs[command["trial"]] = wandb.init(
                    project=command["project"],
                    entity=command["entity"],
                    group=command["group"],
                    name=command["name"],
                    id=command["id"],
                    config=command["config"],
                    dir=str(folder),
                    mode=wandb_mode,
                    resume=None if wandb_mode == "offline" else "allow",
                    reinit="create_new",
                    settings=_quiet(wandb),
                )
            case "log":
                runs[command["trial"]].log(command["metrics"], step=command["step"])
            case "end":
                run = runs.pop(command["trial"])
                run.summary.update(command["summary"])
                run.finish(exit_code=command["code"])
                if command["reports"] is not None:
                    done.add(command["trial"], command["reports"])
    end = threading.Timer(LINGERS_S, os._exit, (1,))
    end.daemon = True
    end.start()
    for run in runs.values():
        run.finish(exit_code=1)
    wandb.teardown()


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
    write_runs(Path(sys.argv[1]), WandbMode(sys.argv[2]))
