"""Whether trials are faster together than one after the other, found out by the steps that they take anyway.

What a trial computes does not depend on how many share its step. So a few of the first steps are taken one
trial at a time and timed, none of them is wasted, and the search never sees a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ROUNDS = 2
"""The steps of each kind that are timed after the first one together."""
MOST_ROUNDS = 6
"""The steps of each kind that are timed before it is said that packing does not pay."""


@dataclass(frozen=True)
class Gain:
    """The seconds of one trial's step, together with others and alone.  lanes: how many took it together."""

    lanes: int
    together_s: float
    alone_s: float

    @property
    def ratio(self) -> float:
        """How many times as fast trials are together."""
        return self.alone_s / self.together_s

    @property
    def pays(self) -> bool:
        """Whether steps are to be taken together."""
        return self.ratio >= 1


@dataclass
class Comparison:
    """Steps of the same trials, in turns together and one trial at a time; the least time of each counts."""

    lanes: int = 0
    together: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)

    def next_alone(self, lanes: int) -> bool:
        """Whether the next step of `lanes` trials is to be taken one trial at a time."""
        if lanes != self.lanes:
            self.lanes, self.together, self.alone = lanes, [], []
        return len(self.together) > len(self.alone)

    def took(self, seconds: float, *, alone: bool) -> None:
        """Add a step, as the seconds of one trial."""
        (self.alone if alone else self.together).append(seconds)

    @property
    def gain(self) -> Gain | None:
        """The result; None until it is known."""
        rounds = min(len(self.alone), len(self.together) - 1)
        if rounds < ROUNDS:
            return None
        found = Gain(self.lanes, min(self.together), min(self.alone))
        return found if found.pays or rounds >= MOST_ROUNDS else None
