"""Priors: values that a user believes in are drawn often at first, and rarely once there is evidence.

Any sampler that proposes setting by setting can be wrapped. In the settings that have one, a trial is drawn
from the prior with probability confidence · 2^(-n / HALF_LIFE) after n trials with a value, and otherwise
from the sampler's proposal: a mixture as in PriorBand (Mallik et al. 2023), which fades with evidence as in
piBO (Hvarfner et al. 2022). So no region is excluded, and a wrong prior costs at most 8 trials in
expectation, however long the search is.
"""

from __future__ import annotations

import math
import random
from functools import cached_property
from statistics import NormalDist
from typing import Any
from zlib import crc32

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from tuning.experiment.alternative import Alternative
from tuning.experiment.prior import Prior
from tuning.search.samplers.draw import Draw

HALF_LIFE = 5
"""With each so many trials that have a value, the prior loses half of its weight."""
_EVIDENCE = (TrialState.COMPLETE, TrialState.PRUNED)


def has_prior(draw: Draw) -> bool:
    """Whether any setting of the space has a prior."""
    return any(alternative.prior for _, _, alternative, _ in draw.space.labelled())


class WithPrior(BaseSampler):  # type: ignore[misc]
    """Draws as another sampler, and settings with a prior sometimes from it.

    The very first trial of a search has the believed values themselves. One number decides about all
    settings of a trial, so that those with equal confidence follow their priors together.
    """

    def __init__(self, inner: BaseSampler, draw: Draw) -> None:
        self._inner, self._draw = inner, draw
        self._believed = {
            label: (alternative, alternative.prior)
            for _, _, alternative, label in draw.space.labelled()
            if alternative.prior is not None
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the other sampler."""
        found: dict[str, BaseDistribution] = self._inner.infer_relative_search_space(study, trial)
        return found

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the settings that the other sampler draws together."""
        drawn: dict[str, Any] = self._inner.sample_relative(study, trial, search_space)
        return drawn | {label: self._value(label, trial) for label in drawn if self._follows(label, trial)}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one setting."""
        if self._follows(param_name, trial):
            return self._value(param_name, trial)
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the other sampler."""
        self._inner.before_trial(study, trial)

    def _follows(self, label: str, trial: FrozenTrial) -> bool:
        if label not in self._believed:
            return False
        if _is_first(trial):
            return True
        confidence = self._believed[label][1].confidence
        return self._place < confidence * math.exp2(-self._evidence / HALF_LIFE)

    def _value(self, label: str, trial: FrozenTrial) -> JsonValue:
        domain, prior = self._believed[label]
        if _is_first(trial):
            return _own(domain, prior)
        return draw_from(domain, prior, random.Random(f"{self._draw.seed} {crc32(label.encode())}"))

    @cached_property
    def _place(self) -> float:
        """A number from 0 to 1, the same for all settings of this trial."""
        return random.Random(f"{self._draw.seed} prior").random()

    @cached_property
    def _evidence(self) -> int:
        return len(self._draw.study.get_trials(deepcopy=False, states=_EVIDENCE))


def _is_first(trial: FrozenTrial) -> bool:
    """Whether nothing came before it: no trial of `search.first` or `search.from` either."""
    return bool(trial.number == 0)


def draw_from(domain: Alternative, prior: Prior, rng: random.Random) -> JsonValue:
    """A value of the domain at random, near the believed one.

    Numbers are normal around it, cut off at the ends of the range, in the logarithm where the range is. Of a
    choice it is the value itself with the prior's confidence, and otherwise any of the values.
    """
    if domain.choice is not None:
        place = rng.random()
        believed = rng.random() < prior.confidence
        return _own(domain, prior) if believed else domain.choice[int(place * len(domain.choice))]
    low, high = float(domain.span[0]), float(domain.highest)  # type: ignore[arg-type]
    centre = float(_own(domain, prior))  # type: ignore[arg-type]
    if low == high:
        return _own(domain, prior)
    if domain.log:
        low, high, centre = math.log(low), math.log(high), math.log(centre)
    around = NormalDist(centre, (1.0 - prior.confidence) * (high - low))
    below, upto = around.cdf(low), around.cdf(high)
    share = min(max(below + rng.random() * (upto - below), 1e-12), 1.0 - 1e-12)
    drawn = min(max(around.inv_cdf(share), low), high)
    return domain.nearest(math.exp(drawn) if domain.log else drawn)


def _own(domain: Alternative, prior: Prior) -> JsonValue:
    """The believed value in the domain's notation."""
    own = domain.match(prior.value)
    assert own is not None, "a prior outside its domain is refused when the file is read"
    return own[0]
