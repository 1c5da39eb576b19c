from __future__ import annotations

import pytest
from recorded import experiment

from trainables.errors import ExperimentFileError
from tuning.experiment.additions import addition_of, check_addition

WHOLE = ["adapter=lora", "freezing=frozen", "learning_rate=2e-3", "lora.rank=8"]


def test_values_are_yaml_and_come_in_the_notation_of_the_space() -> None:
    found = addition_of(experiment(), WHOLE)
    assert found == {"adapter": "lora", "freezing": "frozen", "learning_rate": 2e-3, "lora.rank": 8}


def test_a_copy_is_changed_and_loses_what_no_longer_applies() -> None:
    base = addition_of(experiment(), WHOLE)
    assert addition_of(experiment(), ["lora.rank=16"], base) == base | {"lora.rank": 16}
    changed = addition_of(experiment(), ["adapter=none", "freezing=full"], base)
    assert changed == {"adapter": "none", "freezing": "full", "learning_rate": 2e-3}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["adapter=lora"], "freezing: is missing; a configuration must set every parameter that applies"),
        (["rank=8"], r"rank: is no parameter of the space of digits; available: adapter, .*lora.rank"),
        (["epochs=8"], "epochs: is no parameter of the space of digits, which has 6 for all trials"),
        (["lora.rank"], r"--set lora.rank: must be key=value"),
        (["lora.rank=[8"], r"--set lora.rank: .*got '\[8'"),
        ([*WHOLE, "lora.rank=7"], "lora.rank: must be one of 4, 8, 16, got 7"),
        ([*WHOLE, "learning_rate=1"], "learning_rate: must be .* got 1"),
        ([*WHOLE, "freezing=full"], "freezing: must be one of frozen, unfrozen"),
        (["adapter=none", "freezing=full", "learning_rate=2e-3", "lora.rank=4"], "lora.rank: does not apply"),
        (["a=1", "b=2"], r"2 errors in the configuration for digits\n  a: .*\n  b: "),
    ],
)
def test_what_the_space_does_not_hold_is_an_error(given: list[str], said: str) -> None:
    with pytest.raises(ExperimentFileError, match=said):
        addition_of(experiment(), given)


def test_a_request_from_elsewhere_is_checked_again() -> None:
    with pytest.raises(ExperimentFileError, match="rank: is no parameter of the space"):
        check_addition(experiment(), {"rank": 3})
