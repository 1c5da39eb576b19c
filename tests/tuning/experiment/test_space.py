from __future__ import annotations

import json
import math
import pickle
import random
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler
from pydantic import ValidationError

from tuning.experiment.space import Space, config_hash

SECTIONS = ["lora", "adalora"]
SPACE = Space.parse(
    {
        "lora.rank": {"choice": [4, 8]},
        "adapter": {"choice": ["none", *SECTIONS]},
        "freezing": [
            {"choice": ["head_only", "full"], "when": {"adapter": "none"}},
            {"choice": ["frozen", "unfrozen"], "when": {"adapter": SECTIONS}},
        ],
        "frozen_blocks": {"int": [0, 4], "step": 2, "when": {"freezing": ["full", "unfrozen"]}},
        "adalora.target_rank": {"int": [2, 4]},
        "targets": {"choice": [["query"], ["query", "value"]]},
    }
)


def optuna_trials(space: Space, count: int, sampler: Any) -> list[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    found = []
    for number in range(count):
        trial = study.ask()
        found.append(space.suggest(trial))
        study.tell(trial, float(number % 7))
    return found


def test_parents_come_first_whatever_the_files_order() -> None:
    order = SPACE.order
    assert order.index("adapter") < min(
        order.index(n) for n in ("lora.rank", "freezing", "adalora.target_rank")
    )
    assert order.index("freezing") < order.index("frozen_blocks")


def test_grid_is_every_configuration_once_and_as_many_as_size_says() -> None:
    grid = list(SPACE.grid())
    assert len(grid) == len({config_hash(p) for p in grid}) == SPACE.size()
    # none: (head_only + full x 3 blocks) x 2 targets; an adapter: (frozen + unfrozen x 3) x its ranks x 2
    assert len(grid) == 4 * 2 + 4 * 2 * 2 + 4 * 3 * 2
    for params in grid:
        assert ("lora.rank" in params) == (params["adapter"] == "lora")
        assert ("adalora.target_rank" in params) == (params["adapter"] == "adalora")
        assert ("frozen_blocks" in params) == (params["freezing"] in ("full", "unfrozen"))
        assert params["freezing"] in (
            ("head_only", "full") if params["adapter"] == "none" else ("frozen", "unfrozen")
        )


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "sampler",
    [
        RandomSampler(seed=0),
        TPESampler(seed=0, n_startup_trials=5, multivariate=True, group=True, constant_liar=True),
    ],
    ids=["random", "tpe"],
)
def test_optuna_draws_what_the_grid_holds(sampler: Any) -> None:
    known = {config_hash(params) for params in SPACE.grid()}
    drawn = {config_hash(params) for params in optuna_trials(SPACE, 60, sampler)}
    assert drawn <= known
    assert len(drawn) > 10


def test_own_sampling_reaches_the_whole_space_and_follows_its_seed() -> None:
    known = {config_hash(params) for params in SPACE.grid()}
    rng = random.Random(0)
    assert {config_hash(SPACE.sample(rng)) for _ in range(2000)} == known
    assert SPACE.sample(random.Random(5)) == SPACE.sample(random.Random(5))


def test_alternatives_have_names_of_their_own_for_optuna() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    names: set[str] = set()
    for _ in range(30):
        trial = study.ask()
        params = SPACE.suggest(trial)
        names |= trial.params.keys()
        assert {name.split("@")[0] for name in trial.params} == params.keys()
    assert {n for n in names if "@" in n} == {"freezing@adapter=none", "freezing@adapter=lora|adalora"}


def test_lists_as_choices_raise_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    optuna_trials(SPACE, 3, RandomSampler(seed=0))
    assert not [w for w in recwarn if "categorical" in str(w.message)]


@pytest.mark.parametrize("seed", range(5))
def test_ranges_stay_inside_and_on_their_steps(seed: int) -> None:
    space = Space.parse(
        {
            "warmup": {"float": [0.1, 0.75], "step": 0.2},
            "learning_rate": {"float": [1e-5, 1e-2], "log": True},
            "lora.rank": {"int": [1, 100], "log": True},
            "epochs": {"int": [3, 10], "step": 3},
        }
    )
    drawn = optuna_trials(space, 20, RandomSampler(seed=seed))
    rng = random.Random(seed)
    for params in (*drawn, *(space.sample(rng) for _ in range(20))):
        assert params["warmup"] in (0.1, 0.3, 0.5, 0.7)
        assert 1e-5 <= params["learning_rate"] <= 1e-2
        assert 1 <= params["lora.rank"] <= 100
        assert isinstance(params["lora.rank"], int)
        assert params["epochs"] in (3, 6, 9)
        assert space.locate(params) == (params, {})


def test_logarithmic_sampling_is_uniform_in_the_logarithm() -> None:
    space = Space.parse({"learning_rate": {"float": [1e-5, 1e-1], "log": True}})
    rng = random.Random(0)
    logs = [math.log10(float(space.sample(rng)["learning_rate"])) for _ in range(2000)]  # type: ignore[arg-type]
    assert abs(sum(logs) / len(logs) + 3) < 0.1


def test_a_continuous_space_has_no_size_and_no_grid() -> None:
    space = Space.parse({"learning_rate": {"float": [1e-5, 1e-2]}})
    assert space.size() is None
    with pytest.raises(ValueError, match="learning_rate has no step"):
        space.grid()


def test_an_empty_space_has_one_configuration() -> None:
    assert not Space()
    assert Space().size() == 1
    assert list(Space().grid()) == [{}]


def test_sizes_of_large_spaces_are_counted_not_enumerated() -> None:
    names = [f"peft.arguments.a{number}" for number in range(12)]
    assert Space.parse({name: {"int": [1, 100]} for name in names}).size() == 100**12


def test_a_cycle_is_refused() -> None:
    cycle = {
        "warmup": {"choice": [0.1], "when": {"flat": 0.5}},
        "flat": {"choice": [0.5], "when": {"warmup": 0.1}},
    }
    with pytest.raises(ValueError, match="cycle: warmup, flat"):
        _ = Space.parse(cycle).order


def test_locate_brings_values_into_the_spaces_own_form() -> None:
    space = Space.parse({"lora.alpha": {"choice": [8.0, 16.0]}, "warmup": {"float": [0.1, 0.7], "step": 0.2}})
    values, errors = space.locate({"warmup": 0.30000000000000004, "lora.alpha": 8})
    assert not errors
    assert values == {"lora.alpha": 8.0, "warmup": 0.3}
    assert list(values) == list(space.order)


def test_locate_names_what_is_outside() -> None:
    _, errors = SPACE.locate(
        {"adapter": "lora", "lora.rank": 5, "adalora.target_rank": 3, "targets": ["query"]}
    )
    assert errors == {
        "lora.rank": "must be one of 4, 8, got 5",
        "adalora.target_rank": "does not apply: its conditions are not met",
        "freezing": "is missing; a configuration must set every parameter that applies",
    }


def test_hash_ignores_order_and_the_form_of_numbers_only() -> None:
    assert config_hash({"a": 4, "b": [1.0, "x"]}) == config_hash({"b": [1, "x"], "a": 4.0})
    different = [{"a": 4}, {"a": 5}, {"a": True}, {"a": "4"}, {"a": None}, {}, {"a": 4.5}, {"b": 4}]
    assert len({config_hash(params) for params in different}) == len(different)


def test_a_space_survives_json_and_pickle() -> None:
    assert Space.model_validate_json(SPACE.model_dump_json()) == SPACE
    assert Space.model_validate_json(json.dumps(SPACE.model_dump(mode="json"))) == SPACE
    _ = SPACE.order
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE


@pytest.mark.parametrize(
    "domain",
    [
        {},
        {"choice": []},
        {"choice": [1, 1.0]},
        {"choice": [1], "log": True},
        {"int": [1, 2], "float": [1, 2]},
        {"int": [2, 1]},
        {"int": [1, 2], "step": 0.5},
        {"float": [0, 1], "log": True},
        {"float": [0, 1], "step": 2},
        {"float": [0, float("inf")]},
        {"choice": [1], "when": {"adapter": []}},
        {"choice": [1], "weight": 2},
    ],
)
def test_invalid_domains_are_refused(domain: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Space.parse({"lora.rank": domain})
