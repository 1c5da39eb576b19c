"""The sizes of images as a function of rungs and epochs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from malformed import VALID, case, loaded, message_of

from trainables.specs.smaller_images import SmallerImages
from tuning.experiment.load import load_experiment
from tuning.experiment.sections.scheduler import AshaSpec
from tuning.experiment.smaller_images import SHARES, smaller_images
from tuning.experiment.spec import Experiment
from tuning.experiment.write import experiment_yaml


def asha(fidelity: Any = "resolution", **given: float) -> AshaSpec:
    return AshaSpec.model_validate_json(json.dumps({"fidelity": fidelity, **given}))


@pytest.mark.parametrize(
    ("given", "epochs", "until", "shares"),
    [
        ({}, 9, (1, 3), SHARES),  # rungs 1, 3, 9
        ({}, 10, (1, 3), SHARES),
        ({}, 30, (3, 9), SHARES),  # rungs 1, 3, 9, 27: two have the smallest size
        ({}, 4, (1,), SHARES[1:]),  # rungs 1, 3
        ({"grace_epochs": 0.5, "reduction_factor": 2}, 4, (1, 2), SHARES),  # rungs 0.5, 1, 2, 4
        ({"grace_epochs": 1.5, "reduction_factor": 2}, 6, (2, 3), SHARES),  # rungs 1.5, 3, 6
        ({"fidelity": {"resolution": [16, 24, 32, 64]}}, 30, (1, 3, 9), None),
        ({"fidelity": {"resolution": [[16, 24], [32, 48]]}}, 30, (9,), None),
    ],
)
def test_the_highest_rung_has_the_models_own_size(
    given: dict[str, Any], epochs: int, until: tuple[int, ...], shares: tuple[float, ...] | None
) -> None:
    found = smaller_images(asha(**given), epochs)
    assert found is not None
    assert found.until == until
    assert found.shares == (shares or ())
    assert len(found.sizes) in (0, len(until) + 1)


def test_one_number_is_a_square_and_the_value_reads_its_own_json() -> None:
    spec = asha({"resolution": [16, [24, 32]]})
    assert spec.fidelity is not None
    assert spec.fidelity.resolution == ((16, 16), (24, 32))
    for one in (spec, asha()):
        assert AshaSpec.model_validate_json(one.model_dump_json()) == one


def test_the_size_changes_between_epochs() -> None:
    found = SmallerImages(until=(1, 3), shares=SHARES)
    assert [found.stage(epoch) for epoch in range(5)] == [0, 1, 1, 2, 2]
    assert found.full_after == 3


def test_without_rungs_for_it_images_have_one_size() -> None:
    """As in a run that --set has shortened, or one of before."""
    assert smaller_images(asha(), 2) is None
    assert smaller_images(AshaSpec(), 9) is None
    assert smaller_images(None, 9) is None


SIZED = "scheduler: {asha: {fidelity: resolution, grace_epochs: 1, reduction_factor: 2}}"


def test_it_is_a_part_of_the_workload_and_of_the_file_of_one_trial(tmp_path: Any) -> None:
    experiment = loaded(tmp_path, case(scheduler=SIZED).text)
    assert experiment.workload.smaller == SmallerImages(until=(1, 2), shares=SHARES)
    assert not experiment.packs
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    for given in ("resolution", "{resolution: [16, 24, 64]}"):
        one = loaded(tmp_path, case(scheduler=SIZED.replace("resolution", given)).text)
        (tmp_path / "one.yaml").write_text(experiment_yaml(one, {"adapter": "lora", "lora.rank": 4}))
        sole = load_experiment(tmp_path / "one.yaml")
        assert sole.workload == one.workload
        assert sole.packs == one.packs


def test_a_short_run_by_an_override_has_images_of_one_size(tmp_path: Any) -> None:
    assert loaded(tmp_path, case(scheduler=SIZED).text, ("trial.epochs=1",)).workload.smaller is None
    text = case(scheduler=SIZED, trial="trial: {epochs: 1}").text
    assert "needs a rung for each of 2 sizes, and 1 epoch have 1 rung" in message_of(tmp_path, text)
    assert VALID["trial"] == "trial: {epochs: 6}"
