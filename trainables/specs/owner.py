"""Whose checkpoint a file must be."""

from __future__ import annotations

from trainables.specs.base import Spec
from trainables.specs.trial import TrialConfig


class Owner(Spec):
    """The trial whose checkpoint is expected.

    config: its configuration.  sha256: of the file's content, as the record has it, in hexadecimal digits;
    see `trainables.training.checkpoint`. None for either: not checked.
    """

    trial: int
    config: TrialConfig | None = None
    sha256: str | None = None
