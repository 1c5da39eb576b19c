from __future__ import annotations

from recorded import experiment

from analysis.report.setup import describe_search_domain, rungs_of
from tuning.experiment.alternative import Alternative


def test_rungs_are_before_the_last_epoch() -> None:
    asha = {"asha": {"grace_epochs": 0.5, "reduction_factor": 2.0}}
    assert rungs_of(experiment(epochs=4, scheduler=asha)) == (0.5, 1.0, 2.0)
    assert rungs_of(experiment(scheduler={})) == ()


def test_domains_in_words() -> None:
    assert describe_search_domain(Alternative.model_validate({"choice": (4, "a", [1, 2])})) == "4, a, [1, 2]"
    assert (
        describe_search_domain(Alternative.model_validate({"int": (1, 8), "step": 2}))
        == "1 to 8, steps of 2, integer"
    )
