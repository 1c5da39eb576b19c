from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ray.tune.execution import class_cache

from cluster.connect import connect
from cluster.trial_environment import trials_without_own_environment


class _Actor:
    """What a trial sees of its process."""

    def look(self) -> dict[str, Any]:
        import os

        import ray

        return {
            "environment": dict(ray.get_runtime_context().runtime_env),
            "started": os.environ.get("RAY_CHDIR_TO_TRIAL_DIR"),
            "forks": os.environ.get("PL_DISABLE_FORK"),
        }


def _trial_process() -> dict[str, Any]:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    actor = class_cache._ActorClassCache().get(_Actor).remote()
    seen: dict[str, Any] = ray.get(actor.look.remote())
    return seen


def test_trials_run_in_ready_workers_with_the_variables_that_ray_tune_sets(tmp_path: Path) -> None:
    before = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    with connect(None, threads=1, log=tmp_path / "ray.log"):
        seen = _trial_process()
    assert seen["environment"] == {}
    assert (seen["started"], seen["forks"]) == ("0", "1")
    assert before == (class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE)


def test_every_variable_that_ray_tune_sets_itself_is_in_the_workers_environment() -> None:
    from cluster.connect import worker_environment

    assert class_cache.DEFAULT_ENV_VARS.items() <= worker_environment(1).items()


def test_the_names_are_put_back_after_an_error() -> None:
    before = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    inside: list[Any] = []
    error = ValueError("ended")

    def use() -> None:
        with trials_without_own_environment():
            inside.append(dict(class_cache.DEFAULT_ENV_VARS))
            raise error

    with pytest.raises(ValueError, match="ended"):
        use()
    assert inside == [{}]
    assert before == (class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE)


def test_a_ray_without_these_names_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(class_cache, "DEFAULT_ENV_VARS")
    before = class_cache.ENV_VARS_TO_PROPAGATE
    with trials_without_own_environment():
        assert class_cache.ENV_VARS_TO_PROPAGATE is before
