"""The trials that one began with, one after the other: what is trained first when it is trained again."""

from __future__ import annotations

from trainables.specs.base import Spec
from trainables.specs.trial import TrialConfig


class Stage(Spec):
    """A trial up to where the next one begins.

    until: the epoch of it.  state: whether the next one goes on with its whole state, else only with its
    weights, from the next one's own first step.
    """

    config: TrialConfig
    until: float
    state: bool
