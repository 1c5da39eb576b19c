"""What a viewer of the live page can ask for.

Each leaves a request in the experiment's folder, as the command of that name does; only the driver acts.

To add one: a function, and its entry in `ACTIONS`. The page makes button and form of the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainables.errors import StorageError
from tuning.cli.run.add import request_addition
from tuning.cli.run.extend import request_extension
from tuning.cli.run.pause import request_pause
from tuning.cli.run.stop import request_stop
from tuning.cli.run.unpause import request_unpause
from tuning.ledger.ledger import read_history
from tuning.ledger.steering import known_trial
from tuning.ledger.storage import Reference

MOST_SETTINGS = 200
ENDED = ("completed", "early_stopped", "pruned", "stopped")
"""The states of a trial whose weights another one can begin with."""
LONGEST = 2000
"""The most characters of one setting."""


class Asked(BaseModel):
    """What a viewer fills in. trial: None for the whole sweep.  set: settings, each `key=value`.

    epochs: the new total of a trial.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    trial: int | None = Field(default=None, ge=0, lt=10**9)
    set: list[str] = Field(default=[], max_length=MOST_SETTINGS)
    epochs: int | None = Field(default=None, ge=1, lt=10**9)


@dataclass(frozen=True)
class Action:
    """An action.

    of: what it is done to.  form: what the viewer fills in: nothing, settings, or a number of epochs;
    `changes` begins with the settings of the trial.  only_sweeps, only_trials: the states in which the page
    offers it; empty for all.
    """

    label: str
    explained: str
    of: Literal["sweep", "trial"]
    ask: Callable[[Path, Asked], str]
    """Leave the request; returns the message for the viewer. Raises AdaptertuneError."""
    form: Literal["", "settings", "changes", "epochs"] = ""
    only_sweeps: tuple[str, ...] = ()
    only_trials: tuple[str, ...] = ()
    else_hidden: bool = False
    """Whether the page hides it where it does not offer it; else it shows a button that cannot be pressed."""

    def shown(self) -> dict[str, Any]:
        """What the page needs to offer it."""
        return {key: value for key, value in asdict(self).items() if key != "ask"}


def _stop(folder: Path, asked: Asked) -> str:
    return request_stop(Reference(folder, asked.trial))


def _add(folder: Path, asked: Asked) -> str:
    return request_addition(folder, asked.set)


def _clone(folder: Path, asked: Asked, *, warm: bool = False) -> str:
    number = _number(asked)
    trial = known_trial(read_history(folder), number)
    return request_addition(folder, asked.set, base=trial.params, of=number, warm=warm)


def _clone_warm(folder: Path, asked: Asked) -> str:
    return _clone(folder, asked, warm=True)


def _extend(folder: Path, asked: Asked) -> str:
    if asked.epochs is None:
        raise StorageError("fill in the epochs")
    return request_extension(folder, _number(asked), asked.epochs, read_history(folder))


def _number(asked: Asked) -> int:
    if asked.trial is None:
        raise StorageError("the number of a trial is missing")
    return asked.trial


def _pause(folder: Path, asked: Asked) -> str:
    return request_pause(folder, asked.trial, read_history(folder))


def _unpause(folder: Path, asked: Asked) -> str:
    return request_unpause(folder, asked.trial, read_history(folder))


ACTIONS: Mapping[str, Action] = {
    "add": Action(
        "Add a configuration",
        "One more trial, tried before any other new one. It is checked here, and recorded before it acts.",
        "sweep",
        _add,
        form="settings",
    ),
    "pause-sweep": Action(
        "Pause the sweep",
        "All trials save their state and give up their workers, and none starts, until the sweep goes on.",
        "sweep",
        _pause,
        only_sweeps=("running",),
        else_hidden=True,
    ),
    "unpause-sweep": Action(
        "Let the sweep go on",
        "Its trials continue from where they were.",
        "sweep",
        _unpause,
        only_sweeps=("paused",),
        else_hidden=True,
    ),
    "stop-sweep": Action(
        "Stop the sweep",
        "Running trials save their state, so that `adaptertune resume` continues the sweep.",
        "sweep",
        _stop,
        only_sweeps=("running", "paused"),
    ),
    "clone": Action(
        "Copy with changes",
        "One more trial with this configuration and your changes, trained from the start.",
        "trial",
        _clone,
        form="changes",
    ),
    "clone-warm": Action(
        "Copy with its weights",
        "One more trial that begins with this one's best weights. Change how it trains, such as the rate.",
        "trial",
        _clone_warm,
        form="changes",
        only_trials=ENDED,
        else_hidden=True,
    ),
    "extend": Action(
        "Train it longer",
        "One more trial that continues this one's last state. The epochs are the new total.",
        "trial",
        _extend,
        form="epochs",
        only_trials=ENDED,
        else_hidden=True,
    ),
    "pause-trial": Action(
        "Pause this trial",
        "It saves its state, and its worker takes the next trial.",
        "trial",
        _pause,
        only_trials=("running", "resting", "interrupted", "unfinished"),
        else_hidden=True,
    ),
    "unpause-trial": Action(
        "Let this trial go on",
        "It continues from where it was, as soon as a worker is free.",
        "trial",
        _unpause,
        only_trials=("paused",),
        else_hidden=True,
    ),
    "stop-trial": Action(
        "Stop this trial",
        "It ends here; what it has recorded is kept, and its worker takes the next trial.",
        "trial",
        _stop,
        only_sweeps=("running", "paused"),
        only_trials=("running", "resting", "paused"),
    ),
}


def carry_out(name: str, folder: Path, body: bytes) -> str:
    """Leave the request that a viewer's JSON asks for; returns the message for the viewer.

    Raises AdaptertuneError with what is wrong with it, and KeyError for an unknown action.
    """
    action = ACTIONS[name]
    try:
        asked = Asked.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StorageError(f"{where or 'the request'}: {first['msg']}") from error
    if action.of == "trial":
        _number(asked)
    elif asked.trial is not None:
        raise StorageError("takes no trial")
    if action.form in ("settings", "changes") and not asked.set:
        raise StorageError("fill in at least one setting")
    if any(len(text) > LONGEST for text in asked.set):
        raise StorageError(f"a setting has at most {LONGEST:,} characters")
    try:
        return action.ask(folder, asked)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"the request cannot be written in {folder}: {reason}") from error
