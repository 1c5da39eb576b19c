"""Which trial another one begins with, in the record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Parent(BaseModel):
    """The trial that another one begins with: with its best weights, or with the state of its last save.

    file: the name of the copy of that checkpoint, in the folder `parents` beside `trials`. It begins with the
    SHA-256 of its content.  epoch: of the weights; None for a state.
    epochs: how many epochs, the parent's included, a trial has that continues a state; None: its own.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    trial: int
    state: bool
    file: str
    epoch: float | None = None
    epochs: int | None = None

    @property
    def told(self) -> str:
        """How a trial began with it: a phrase after `which`."""
        return (
            f"continues trial {self.trial}" if self.state else f"began with the weights of trial {self.trial}"
        )
