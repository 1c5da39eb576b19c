"""The experiment that a header describes, and its definitions."""

from __future__ import annotations

from scripted import experiment

from trainables.specs.definitions import BEFORE, MEANINGS, Definitions
from tuning.experiment.sections.scheduler import AshaRule, AshaSpec
from tuning.ledger.header import experiment_of
from tuning.ledger.records import ExperimentRecord


def header(**changes: object) -> ExperimentRecord:
    written = experiment().model_dump(mode="json", exclude={"source_text"}) | changes
    return ExperimentRecord(name="sweep", file="", experiment=written)


def test_a_record_without_definitions_has_those_before_they_were_recorded() -> None:
    found = header()
    old = found.model_copy(
        update={"experiment": {k: v for k, v in found.experiment.items() if k != "definitions"}}
    )
    assert experiment_of(old).definitions == BEFORE
    assert experiment_of(old).workload.definitions == BEFORE


def test_recorded_definitions_are_kept_and_others_are_the_first() -> None:
    found = experiment_of(header(definitions={"dice": 2, "coco": 2})).definitions
    assert found == BEFORE.model_copy(update={"dice": 2, "coco": 2})


def test_a_record_from_before_packs_keeps_its_trials_apart() -> None:
    assert experiment_of(header()).resources.packing == "auto"
    assert experiment_of(header(resources={"packing": 3, "cpus": 2.0})).resources.packing == 3
    old = experiment_of(header(resources={"cpus": 2.0}))
    assert (old.resources.packing, old.resources.cpus) == ("off", 2.0)
    found = header()
    older = {k: v for k, v in found.experiment.items() if k != "resources"}
    assert experiment_of(found.model_copy(update={"experiment": older})).resources.packing == "off"


def test_a_record_from_before_asha_had_rules_keeps_the_one_there_was() -> None:
    assert AshaSpec().rule is AshaRule.RANK
    recorded = {"grace_epochs": 2.0, "reduction_factor": 3.0}
    old = experiment_of(header(scheduler={"asha": recorded, "median": None})).scheduler
    assert old.asha == AshaSpec(grace_epochs=2.0, rule=AshaRule.THRESHOLD)
    new = experiment_of(header(scheduler={"asha": recorded | {"rule": "rank"}})).scheduler
    assert new.asha == AshaSpec(grace_epochs=2.0)
    assert experiment_of(header(scheduler={"asha": None, "median": {}})).scheduler.rule == "median"


def test_every_number_of_a_definition_has_a_meaning() -> None:
    assert MEANINGS.keys() == Definitions.model_fields.keys()
    for name, number in [*Definitions(), *BEFORE]:
        assert MEANINGS[name][number]
