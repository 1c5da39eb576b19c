"""A pack's actor without a cluster, and what its driver does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainables.conftest import report_values, trial_job
from trainables.specs.pack import PackedTrial, PackJob, PackOrder, PackOrders
from trainables.specs.report import Report
from trainables.workers.packed_trainable import PackedTrainable

LORA = '{"adapter": "lora", "epochs": 3, "batch_size": 8, "seed": SEED}'
WILD = '{"adapter": "none", "freezing": "full", "learning_rate": 1e18, "clip_norm": null}'
UNBUILDABLE = '{"adapter": "adalora", "epochs": 1, "batch_size": 24}'


class Driver:
    """A pack's actor and what its driver does: it writes orders, and calls `step`."""

    actor: PackedTrainable

    def __init__(self, experiment: Path, actor: PackedTrainable | None = None, **fields: Any) -> None:
        experiment.mkdir(parents=True, exist_ok=True)
        self.experiment, self.orders = experiment, PackOrders()
        given = trial_job(experiment, LORA.replace("SEED", "0"))
        self.job = PackJob(
            trial=0,
            experiment=experiment,
            workload=given.workload,
            prepared=given.prepared,
            threads=1,
            orders=experiment / "orders",
            lanes=3,
            save_every_s=1e9,
            save_every_epochs=1.0,
            trainable="trainables.workers.packed_trainable:PackedTrainable",
        ).model_copy(update=fields)
        if actor is not None:
            assert actor.reset_config(self.job.for_ray())
        self.actor = actor or PackedTrainable.__new__(PackedTrainable)
        if actor is None:
            self.actor.setup(self.job.for_ray())
        self.results: dict[int, list[dict[str, Any]]] = {}
        self.order: list[tuple[int, float]] = []

    def start(self, *numbers: int, text: str = LORA, joined: int | None = None, **fields: Any) -> None:
        """Order trials to start; the seed in their configuration is their number."""
        for number in numbers:
            job = trial_job(self.experiment, text.replace("SEED", str(number)), number)
            self._give(
                start=PackedTrial(
                    trial=number,
                    config=job.config,
                    folder=job.folder,
                    checkpoints=job.checkpoints,
                    joined=joined,
                    **fields,
                )
            )

    def leave(self, number: int, *, save: bool = False) -> None:
        self._give(leave=number, save=save)

    def _give(self, **order: Any) -> None:
        given = self.orders.orders
        self.orders = PackOrders(orders=(*given, PackOrder(number=len(given) + 1, **order)))
        self.job.orders.write_text(self.orders.model_dump_json())

    def step(self) -> dict[str, Any]:
        found = self.actor.step()
        for result in found["results"]:
            self.results.setdefault(result["trial"], []).append(result)
            self.order.append((result["trial"], result["epoch"]))
        return found

    def finish(self) -> None:
        """Step until no trial is left."""
        self.step()
        while self.actor.slots or self.actor._waiting:
            self.step()

    def curve(self, number: int) -> Any:
        """The reports of a trial, without what they cost."""
        found = self.results[number]
        assert [result["failure"] for result in found] == [None] * len(found)
        return report_values([Report.model_validate(result["report"]) for result in found])


def assert_alike(packed: Any, alone: Any) -> None:
    """The same reports within the rounding of a packed step; a pixel between two classes may turn."""
    assert [report[:2] for report in packed] == [report[:2] for report in alone]
    for (*_, objective, metrics), (*_, wanted, expected) in zip(packed, alone, strict=True):
        assert objective == pytest.approx(wanted, abs=2e-3)
        assert metrics == pytest.approx(expected, abs=2e-3)
