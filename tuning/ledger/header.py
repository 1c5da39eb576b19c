"""The experiment that a record describes."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from trainables.errors import LedgerError
from trainables.specs.definitions import complete
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
        given = Experiment.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LedgerError(
            f"{header.name}: the recorded experiment does not fit this adaptertune"
            f" ({where}: {first['msg']}); use the version that ran it"
        ) from error
    return given.model_copy(update={"source_text": header.file})


def says_nothing_of_packing(header: ExperimentRecord) -> bool:
    """Whether the record is from before there were packs: its trials train one at a time in a worker."""
    resources = header.experiment.get("resources")
    return not isinstance(resources, dict) or "packing" not in resources
