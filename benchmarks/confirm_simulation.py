"""How often `confirm` is right, on simulated sweeps whose truth is known.

    python -m benchmarks.confirm_simulation [--sweeps 4000] [--seeds 5] [--trials 3] [--tried 20]

Each sweep tries `--tried` configurations, whose true values are drawn from a few levels, so that many are
exactly equal, the best ones among them. The search sees one noisy value of each and ranks by it; the best
`--trials` are repeated over `--seeds` seeds, with noise that the runs of one seed share in part, and
`analysis.statistics.winner` chooses. Printed are: how often the 95 % intervals of pairs cover the true
difference; how often a sweep shows any difference where there is none or the reverse; how often a winner is
declared that is not the single best; how much too good the search's value of its best trial is, and the mean
of its repeats; and what the chosen trial loses against the best of those repeated, and against the search's
own first one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from analysis.statistics.paired import compare_levels
from analysis.statistics.verdicts import Verdict
from analysis.statistics.winner import choose
from trainables.specs.workload import Direction

LEVELS = (0.70, 0.72, 0.75, 0.76)
"""True values; each configuration has one of them."""
OWN, SHARED = 0.01, 0.01
"""Standard deviations of a run's noise: its own, and that of its seed."""


@dataclass(frozen=True)
class Rates:
    """Shares of sweeps, and means over them.

    covers: of pairs.  wrong: sweeps that show a difference that is not there, or the reverse.  wins: sweeps
    with a declared winner.  false_wins: those in which it is not better than every other.  excess: the value
    of the search minus the truth, of its first trial; repeated: the mean of the repeats minus the truth.
    loss, first_loss: the best truth among those repeated minus that of the chosen one, and of the first.
    """

    covers: float
    wrong: float
    wins: float
    false_wins: float
    excess: float
    repeated: float
    loss: float
    first_loss: float


def simulate(
    sweeps: int,
    *,
    seeds: int = 5,
    trials: int = 3,
    tried: int = 20,
    levels: tuple[float, ...] = LEVELS,
    seed: int = 0,
) -> Rates:
    """Repeat the whole procedure on `sweeps` sweeps."""
    rng = np.random.default_rng(seed)
    covered, pairs = 0, 0
    found = np.zeros((sweeps, 7))
    for i in range(sweeps):
        truth = rng.choice(levels, tried)
        searched = truth + rng.normal(0, OWN, tried) + rng.normal(0, SHARED)
        best = np.argsort(-searched, kind="stable")[:trials]
        shared = rng.normal(0, SHARED, seeds)
        runs = {str(n): truth[n] + shared + rng.normal(0, OWN, seeds) for n in best}
        compared = compare_levels(
            {name: dict(enumerate(map(float, values))) for name, values in runs.items()},
            metric="value",
            direction=Direction.MAXIMIZE,
        )
        wrong = False
        for d in compared.differences:
            gap = truth[int(d.level)] - truth[int(d.reference)]
            assert d.interval is not None
            covered += d.interval.low <= gap <= d.interval.high
            pairs += 1
            wrong |= (d.verdict is Verdict.BETTER and gap <= 0) or (d.verdict is Verdict.WORSE and gap >= 0)
        choice = choose(compared, dict.fromkeys(runs, 1.0))
        assert choice is not None
        own, top = truth[int(choice.name)], truth[best].max()
        alone = own == top and (truth[best] == top).sum() == 1
        first = best[0]
        found[i] = (
            wrong,
            choice.won,
            choice.won and not alone,
            searched[first] - truth[first],
            runs[str(first)].mean() - truth[first],
            top - own,
            top - truth[first],
        )
    return Rates(covered / pairs, *map(float, found.mean(axis=0)))


def main() -> None:
    """Print the rates."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    for name, default in (("sweeps", 4000), ("seeds", 5), ("trials", 3), ("tried", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    print("truth             covers  wrong  wins  false wins  excess of search  of repeats    loss  of first")
    for title, levels in (("with equal ones", LEVELS), ("all equal", (0.75,)), ("two levels", (0.70, 0.75))):
        r = simulate(args.sweeps, seeds=args.seeds, trials=args.trials, tried=args.tried, levels=levels)
        print(
            f"{title:16}  {r.covers:6.3f}  {r.wrong:5.3f}  {r.wins:4.2f}  {r.false_wins:10.4f}"
            f"  {r.excess:+16.4f}  {r.repeated:+10.4f}  {r.loss:.4f}  {r.first_loss:.4f}"
        )


if __name__ == "__main__":
    main()
