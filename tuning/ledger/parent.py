"""Which trial another one begins with, in the record."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

from tuning.experiment.space import config_hash


class Parent(BaseModel):
    """The trial that another one begins with: with its best weights, or with the state of its last save.

    file: the name of the copy of that checkpoint, in the folder `parents` beside `trials`. It begins with the
    SHA-256 of its content.  epoch: of the weights, or of the state; None for the state that a user continues,
    which is where the parent ended.
    epochs: how many epochs, the parent's included, a trial has that continues a state; None: its own.
    instead_of: the trial of a population that it replaces; None if a user began it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    trial: int
    state: bool
    file: str
    epoch: float | None = None
    epochs: int | None = None
    instead_of: int | None = None

    @property
    def of_user(self) -> bool:
        """Whether it continues a state because a user asked for it."""
        return self.state and self.instead_of is None

    @property
    def told(self) -> str:
        """How a trial began with it: a phrase after `which`."""
        if self.instead_of is not None:
            return f"replaced trial {self.instead_of} with the state of trial {self.trial}"
        return (
            f"continues trial {self.trial}" if self.state else f"began with the weights of trial {self.trial}"
        )


def child_hash(params: Mapping[str, JsonValue], parent: Parent) -> str:
    """The hash of a configuration that begins with a parent: another one than without."""
    known: list[JsonValue] = [parent.file, parent.state, parent.epochs]
    known += [] if parent.instead_of is None else [parent.instead_of]
    return config_hash({**params, "parent": known})
