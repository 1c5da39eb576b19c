from __future__ import annotations

import copy
import pickle
from pathlib import Path

from tests.trainables.conftest import trial_job
from trainables.specs.job import TrialResult
from trainables.specs.pack import PackedTrial, PackJob, PackOrder, PackOrders, PackResult


def test_a_pack_gives_each_trial_the_job_that_it_would_have_alone(tmp_path: Path) -> None:
    asked = trial_job(tmp_path, '{"adapter": "lora", "learning_rate": 1e-4}', 7)
    shared = {name: getattr(asked, name) for name in PackJob.model_fields if hasattr(asked, name)}
    job = PackJob(**shared | {"trial": 2, "orders": tmp_path / "orders", "lanes": None})
    own = {name: getattr(asked, name) for name in ("trial", "config", "folder", "checkpoints")}
    assert job.job_of(PackedTrial(**own)) == asked
    assert pickle.loads(pickle.dumps(job)) == job
    assert copy.deepcopy(job) is job
    assert job.for_ray()["trial"] == 2


def test_orders_are_the_same_after_a_trip_through_a_file(tmp_path: Path) -> None:
    asked = trial_job(tmp_path, '{"adapter": "lora", "lora": {"rank": 3}}', 7)
    own = {name: getattr(asked, name) for name in ("trial", "config", "folder", "checkpoints")}
    start = PackOrder(number=1, start=PackedTrial(**own, joined=12))
    orders = PackOrders(orders=(start, PackOrder(number=2, leave=7)))
    assert PackOrders.model_validate_json(orders.model_dump_json()) == orders


def test_only_the_driver_says_that_a_pack_is_done() -> None:
    result = PackResult(trial=0, results=[TrialResult(trial=4, done=True)], room=2, read=1, clock=9)
    plain = result.for_ray()
    assert not plain["done"]
    assert plain["results"][0]["done"]
