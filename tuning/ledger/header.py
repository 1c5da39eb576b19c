"""The experiment that a record describes."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from trainables.errors import LedgerError
from trainables.specs.definitions import complete
from tuning.experiment.sections.scheduler import AshaRule
from tuning.experiment.spec import Experiment
from tuning.ledger.records import ExperimentRecord


def experiment_of(header: ExperimentRecord) -> Experiment:
    """The experiment as launched, or as extended since. Raises LedgerError if this version cannot read it."""
    try:
        named: Any = header.experiment.get("definitions") or {}
        document = header.experiment | {"definitions": complete(named)}
        resources: Any = header.experiment.get("resources") or {}
        if says_nothing_of_packing(header):
            document["resources"] = resources | {"packing": "off"}
        if (scheduler := _with_rule_of_before(header)) is not None:
            document["scheduler"] = scheduler
        given = Experiment.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LedgerError(
            f"{header.name}: the recorded experiment does not fit this adaptertune"
            f" ({where}: {first['msg']}); use the version that ran it"
        ) from error
    return given.model_copy(update={"source_text": header.file})


def _with_rule_of_before(header: ExperimentRecord) -> dict[str, Any] | None:
    """The scheduler of a record from before `asha` had rules: there was one; None if it names its rule."""
    scheduler: Any = header.experiment.get("scheduler")
    asha = scheduler.get("asha") if isinstance(scheduler, dict) else None
    if not isinstance(asha, dict) or "rule" in asha:
        return None
    return {**scheduler, "asha": {**asha, "rule": AshaRule.THRESHOLD.value}}


def says_nothing_of_packing(header: ExperimentRecord) -> bool:
    """Whether the record is from before there were packs: its trials train one at a time in a worker."""
    resources = header.experiment.get("resources")
    return not isinstance(resources, dict) or "packing" not in resources
