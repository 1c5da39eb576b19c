from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from spaces import CONDITIONAL

from tuning.search.distributions import as_asked, with_scalars

LORA = {
    "adapter": "lora",
    "learning_rate": 1e-2,
    "lora.rank": 4,
    "freezing": "frozen",
    "targets": ["query"],
}


def test_parameters_get_the_names_and_distributions_that_a_study_is_asked_for() -> None:
    distributions: dict[str, Any] = {}
    named = as_asked(CONDITIONAL, LORA, distributions)
    (freezing,) = [name for name in named if name.startswith("freezing@")]
    assert {name.split("@")[0]: value for name, value in named.items()} == LORA
    assert distributions.keys() == named.keys()
    assert distributions["learning_rate"] == FloatDistribution(1e-5, 1e-1, log=True)
    assert distributions["lora.rank"] == IntDistribution(1, 8)
    assert distributions[freezing] == CategoricalDistribution(["frozen", "unfrozen"])


def test_distributions_are_gathered_over_several_configurations() -> None:
    distributions: dict[str, Any] = {}
    as_asked(CONDITIONAL, LORA, distributions)
    known = dict(distributions)
    none = {"adapter": "none", "learning_rate": 1e-3, "freezing": "full", "targets": ["query"]}
    (added,) = as_asked(CONDITIONAL, none, distributions).keys() - known.keys()
    assert distributions == known | {added: CategoricalDistribution(["head_only", "full"])}


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_only_choices_that_are_no_scalars_become_text() -> None:
    lists, numbers = CategoricalDistribution([["query"], ["query", "value"]]), CategoricalDistribution([4, 8])
    assert with_scalars(lists) == CategoricalDistribution(['["query"]', '["query", "value"]'])
    assert with_scalars(numbers) == numbers
    assert with_scalars(IntDistribution(1, 8)) == IntDistribution(1, 8)
