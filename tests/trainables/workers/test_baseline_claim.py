"""A worker that measures the pretrained baseline claims that, with the number of its trial."""

from __future__ import annotations

from pathlib import Path

import pytest
from packs import LORA, Driver

from tests.trainables.conftest import actor_of, trial_job
from trainables.run_folder import BASELINE_CLAIM
from trainables.training.engine import Engine

Claims = list[str]


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Claims:
    """The content of the claim each time that the baseline is measured."""
    found: Claims = []
    measure = Engine.baseline_metrics

    def seen(engine: Engine) -> dict[str, float] | None:
        found.append((tmp_path / BASELINE_CLAIM).read_text())
        return measure(engine)

    monkeypatch.setattr(Engine, "baseline_metrics", seen)
    return found


def test_the_first_trial_claims_it_with_its_number(tmp_path: Path, claims: Claims) -> None:
    lora = LORA.replace("SEED", "0")
    first, second = (actor_of(trial_job(tmp_path, lora, number)) for number in (3, 4))
    assert first.step()["baseline"] is not None
    assert second.step()["baseline"] is None
    assert claims == ["3"]
    assert (tmp_path / BASELINE_CLAIM).read_text() == "3"  # for the driver, until the report is recorded


def test_the_first_trial_of_a_pack_claims_it_with_its_own_number(tmp_path: Path, claims: Claims) -> None:
    driver = Driver(tmp_path)  # pack 0
    driver.start(5, 6)
    driver.finish()
    assert [driver.results[number][0]["baseline"] is not None for number in (5, 6)] == [True, False]
    assert claims == ["5"]


@pytest.mark.parametrize(
    ("content", "given_back"), [("3", True), ("", True), ("4", False), ("by hand", False), (None, True)]
)
def test_a_worker_that_could_not_measure_it_gives_back_its_own_claim_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, given_back: bool
) -> None:
    """Another trial's: this worker was taken for dead, and another one has begun to measure."""
    claim = tmp_path / BASELINE_CLAIM

    def fail(_: Engine) -> None:
        if content is None:
            claim.unlink()
        else:
            claim.write_text(content)
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "baseline_metrics", fail)
        actor = actor_of(trial_job(tmp_path, LORA.replace("SEED", "0"), 3))
    assert actor.step()["failure"] is None
    assert claim.exists() is not given_back
