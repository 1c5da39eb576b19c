"""The statistics of an ablation against a known truth: coverage, false findings, power.

    python -m benchmarks.statistics_simulation          # a few minutes on one core

A simulated ablation has levels with true means. Each seed shifts all levels (pairing removes this), and
each run has its own noise (which remains). Expected: intervals cover the truth in 93-97 % of ablations,
at most 5 % of families without a real difference report one, and a difference of the size that is
called detectable is found at least 80 % of the time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.statistics.paired import ALPHA, Comparison, compare_levels, detectable_difference
from trainables.specs.workload import Direction

Rng = np.random.Generator
Noise = Callable[[Rng, tuple[int, ...]], np.ndarray]


def normal(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


def heavy(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with 5 degrees of freedom, variance 1."""
    return rng.standard_t(5, size=shape) / np.sqrt(5 / 3)


def skewed(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Noise with some very low values: a negated gamma distribution of shape 8, skewness -0.7."""
    return -(rng.gamma(8.0, size=shape) - 8.0) / np.sqrt(8.0)


NOISES: dict[str, Noise] = {"normal": normal, "heavy tails": heavy, "skewed": skewed}


@dataclass(frozen=True)
class World:
    """The simulated truth. shared: standard deviation between seeds; own: between runs of a seed."""

    means: tuple[float, ...]
    seeds: int
    noise: Noise = normal
    shared: float = 0.01
    own: float = 0.01
    reference: bool = True
    """Whether levels are compared to the first one, not all to all."""

    @property
    def spread(self) -> float:
        """Standard deviation of a paired difference."""
        return self.own * float(np.sqrt(2))

    @property
    def comparisons(self) -> int:
        n = len(self.means)
        return n - 1 if self.reference else n * (n - 1) // 2

    def ablation(self, rng: Rng) -> Comparison:
        shared = self.shared * self.noise(rng, (self.seeds, 1))
        values = np.array(self.means) + shared + self.own * self.noise(rng, (self.seeds, len(self.means)))
        levels = {str(i): dict(enumerate(values[:, i].tolist())) for i in range(len(self.means))}
        return compare_levels(
            levels, metric="dice", direction=Direction.MAXIMIZE, reference="0" if self.reference else None
        )


@dataclass(frozen=True)
class Rates:
    """Shares among the simulated ablations.

    means, differences: of their intervals, those that contain the truth.  found: of families, those that
    report any difference.  each: by comparison, how often a difference is reported.
    """

    means: float
    differences: float
    found: float
    each: tuple[float, ...]


def simulate(world: World, *, ablations: int = 1000, seed: int = 0) -> Rates:
    rng = np.random.default_rng(seed)
    means, differences, found, each = [], [], [], []
    for _ in range(ablations):
        made = world.ablation(rng)
        for level, truth in zip(made.levels, world.means, strict=True):
            assert level.interval is not None
            means.append(level.interval.low <= truth <= level.interval.high)
        for d in made.differences:
            assert d.interval is not None
            truth = world.means[int(d.level)] - world.means[int(d.reference)]
            differences.append(d.interval.low <= truth <= d.interval.high)
        found.append(any(d.significant for d in made.differences))
        each.append([d.significant for d in made.differences])
    shares = np.mean(each, axis=0).tolist()
    return Rates(float(np.mean(means)), float(np.mean(differences)), float(np.mean(found)), tuple(shares))


def with_detectable(levels: int, seeds: int, *, reference: bool = True) -> World:
    """The last level differs by exactly the detectable difference; all others are equal."""
    plain = World((0.8,) * levels, seeds, reference=reference)
    real = detectable_difference(plain.spread, seeds, comparisons=plain.comparisons, alpha=ALPHA)
    return World((*plain.means[:-1], plain.means[-1] + real), seeds, reference=reference)


def coverage_by_method(noise: Noise, n: int, *, samples: int = 1000, draws: int = 999) -> dict[str, float]:
    """How often each kind of 95 % interval of a mean of `n` values contains the truth, 0."""
    rng = np.random.default_rng(0)
    x = noise(rng, (samples, n))
    mean, error = x.mean(1), x.std(1, ddof=1) / np.sqrt(n)
    reach = stats.t.isf(0.025, n - 1) * error
    held = {"t": np.abs(mean) <= reach}
    for method in ("percentile", "BCa"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                (x,), np.mean, axis=1, n_resamples=draws, batch=50, method=method, rng=rng
            )
        held[method] = (found.confidence_interval.low <= 0) & (found.confidence_interval.high >= 0)
    studentised = []
    for one, at, spread in zip(x, mean, error, strict=True):
        drawn = one[rng.integers(0, n, (draws, n))]
        errors = drawn.std(1, ddof=1) / np.sqrt(n)
        t = (drawn.mean(1) - at)[errors > 0] / errors[errors > 0]
        low, high = np.quantile(t, [0.025, 0.975])
        studentised.append(at - high * spread <= 0 <= at - low * spread)
    held["studentised"] = np.array(studentised)
    return {method: float(np.mean(each)) for method, each in held.items()}


def main() -> None:
    print("intervals of a mean that contain the truth; nominal 0.95")
    for name, noise in NOISES.items():
        for n in (3, 5, 10):
            shares = coverage_by_method(noise, n)
            print(
                f"{name:12} {n:3}", *(f"{method} {share:.3f}" for method, share in shares.items()), flush=True
            )
    print()
    print("intervals that contain the truth, and families that report a difference where there is none")
    print(
        f"{'noise':12} {'levels':>6} {'seeds':>5} {'pairs':>10} {'means':>6} {'differences':>11} {'false':>6}"
    )
    for name, noise in NOISES.items():
        for levels, seeds, reference in ((4, 3, True), (4, 5, True), (4, 10, True), (4, 5, False)):
            r = simulate(World((0.8,) * levels, seeds, noise, reference=reference))
            pairs = "reference" if reference else "all"
            row = f"{name:12} {levels:6} {seeds:5} {pairs:>10} {r.means:6.3f} {r.differences:11.3f}"
            print(f"{row} {r.found:6.3f}", flush=True)
    print("\npower at the difference that is called detectable (nominal 0.8)")
    for levels, seeds, reference in ((2, 3, True), (2, 5, True), (4, 5, True), (4, 10, True), (4, 10, False)):
        world = with_detectable(levels, seeds, reference=reference)
        r = simulate(world)
        size = world.means[-1] - world.means[0]
        what = f"{levels} levels, {seeds:2} seeds, {world.comparisons} comparisons"
        print(f"{what}, {size:.4f}: {r.each[levels - 2]:.3f}", flush=True)


if __name__ == "__main__":
    main()
