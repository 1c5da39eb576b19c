"""Malformed priors and scaled learning rates, each with the whole message."""
# ruff: noqa: E501 (messages are not wrapped)

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import Case, case, label, lines_of, loaded

RATE = "learning_rate: {float: [1e-5, 1e-2], log: true, prior: {value: 3e-4}}"
CASES = [
    case(
        "line 5  space.learning_rate.prior.value  must be a number from 1e-05 to 0.01, got 0.1",
        space="space: {learning_rate: {float: [1e-5, 1e-2], log: true, prior: {value: 0.1}}}",
    ),
    case(
        "line 5  space.lora.rank.prior.value  must be one of 4, 8, got '8'",
        space="space: {lora.rank: {choice: [4, 8], prior: {value: '8'}}}",
    ),
    case(
        "line 5  space.lora.rank.prior.value  must be a whole number from 2 to 8 in steps of 2, got 3",
        space="space: {lora.rank: {int: [2, 8], step: 2, prior: {value: 3}}}",
    ),
    case(
        "line 5  space.lora.rank.prior.value  is missing; add it",
        space="space: {lora.rank: {int: [2, 8], prior: {confidence: 0.5}}}",
    ),
    case(
        "line 5  space.lora.rank.prior.confidence  must be below 1, got 1",
        space="space: {lora.rank: {int: [2, 8], prior: {value: 4, confidence: 1}}}",
    ),
    case(
        "line 5  space.lora.rank.prior.confidence  must be above 0, got 0",
        space="space: {lora.rank: {int: [2, 8], prior: {value: 4, confidence: 0}}}",
    ),
    case(
        "line 5  space.lora.rank.prior.confidence  must be a number, got 'high'",
        space="space: {lora.rank: {int: [2, 8], prior: {value: 4, confidence: high}}}",
    ),
    case(
        "line 5  space.lora.rank.prior.sure  unknown key; available: value, confidence",
        space="space: {lora.rank: {int: [2, 8], prior: {value: 4, sure: 0.5}}}",
    ),
    case(
        "line 5  space.lora.rank.prior  must be a mapping, got 4",
        space="space: {lora.rank: {int: [2, 8], prior: 4}}",
    ),
    case(
        "line 5  space.learning_rate.prior  cannot be used by search.cmaes; use tpe, random, gp or nsga2, or remove it (search.first tries configurations first)",
        space=f"space: {{{RATE}}}",
        search="search: {trials: 8, cmaes: {}}",
    ),
    case(
        "line 5  space.learning_rate.prior  cannot be used by search.optuna; use tpe, random, gp or nsga2, or remove it (search.first tries configurations first)",
        space=f"space: {{{RATE}}}",
        search="search: {trials: 8, optuna: {sampler: TPESampler}}",
    ),
    case(
        "--set  space.lora.rank.prior.value  must be one of 4, 8, got 16",
        space="space: {lora.rank: {choice: [4, 8]}}",
        overrides=("space.lora.rank.prior={value: 16}",),
    ),
    case(
        "line 5  space.learning_rate.scale_with  must be the rank or alpha of an adapter, got 'lora.rnk'; did you mean 'lora.rank'?",
        space="space: {learning_rate: {float: [1e-4, 1e-2], scale_with: lora.rnk}}",
    ),
    case(
        "line 5  space.learning_rate.scale_with  must be the rank or alpha of an adapter, got 'lora.dropout'; it takes lora.rank, lora.alpha, adalora.init_rank, adalora.target_rank, adalora.alpha, loha.rank, loha.alpha, lokr.rank, lokr.alpha, serial_lora.rank, localized_lora.block_rank, localized_lora.alpha",
        space="space: {learning_rate: {float: [1e-4, 1e-2], scale_with: lora.dropout}}",
    ),
    case(
        "line 5  space.weight_decay.scale_with  applies to learning_rate and head_learning_rate, not to weight_decay; remove it",
        space="space: {weight_decay: {float: [1e-4, 1e-2], scale_with: lora.rank}}",
    ),
    case(
        "line 5  space.learning_rate.scale_with  has no effect: adapter is lora, never loha; remove it",
        space="space: {learning_rate: {float: [1e-4, 1e-2], scale_with: loha.rank}}",
    ),
    case(
        "line 5  space.learning_rate.scale_with  must be text, got 8; quote it: '8'",
        space="space: {learning_rate: {float: [1e-4, 1e-2], scale_with: 8}}",
    ),
]


@pytest.mark.parametrize("given", CASES, ids=label)
def test_a_malformed_file_says_where_what_and_the_way_out(given: Case, tmp_path: Path) -> None:
    assert lines_of(tmp_path, given) == given.message


def test_a_prior_is_kept_as_it_is_written_and_an_override_takes_it_away(tmp_path: Path) -> None:
    text = case(space=f"space: {{{RATE}}}").text
    (domain,) = loaded(tmp_path, text).space.root["learning_rate"]
    assert domain.model_dump(mode="json")["prior"] == {"value": 3e-4, "confidence": 0.75}
    (domain,) = loaded(tmp_path, text, ("space.learning_rate.prior=null",)).space.root["learning_rate"]
    assert domain.prior is None
