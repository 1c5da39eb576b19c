"""Writing experiment files: of a whole experiment, and of a single configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from trainables.specs.adapters import Adapter
from tuning.experiment.objective_list import put_together
from tuning.experiment.space import SECTION_NAMES
from tuning.experiment.spec import NOT_IN_FILES, Experiment
from tuning.experiment.yaml_lines import dump_yaml


def experiment_yaml(experiment: Experiment, params: Mapping[str, JsonValue]) -> str:
    """The experiment file of one configuration, for `adaptertune train FILE`, with absolute paths."""
    settings = experiment.settings(params)
    adapter = settings.get("adapter", Adapter.LORA.value)
    trial = {k: v for k, v in settings.items() if k not in SECTION_NAMES or k == adapter}
    document: dict[str, Any] = {"name": experiment.name, "task": experiment.task.value}
    for part in ("model", "data", "objective"):
        document[part] = getattr(experiment, part).model_dump(
            mode="json", exclude_defaults=True, exclude_none=True
        )
    if not document["model"]:
        del document["model"]
    if (asha := experiment.scheduler.asha) is not None and asha.fidelity is not None:
        # The rungs say until when images are smaller.
        rungs = asha.model_dump(mode="json", include={"grace_epochs", "reduction_factor"})
        smaller = asha.fidelity.model_dump(mode="json", exclude_none=True) or "resolution"
        document["scheduler"] = {"asha": rungs | {"fidelity": smaller}}
    return dump_yaml(document | ({"trial": trial} if trial else {}))


def document_of(experiment: Experiment) -> dict[str, Any]:
    """An experiment as the plain values of its file; paths in it are absolute."""
    apart = {*NOT_IN_FILES, "trial", "space"}
    parts = experiment.model_dump(mode="json", exclude=apart, exclude_defaults=True, exclude_none=True)
    document = {key: part for key, part in parts.items() if part != {}}
    put_together(document, [o.model_dump(mode="json", exclude_none=True) for o in experiment.further])
    if experiment.trial:
        document["trial"] = dict(experiment.trial)
    if experiment.space:
        document["space"] = experiment.space.model_dump(mode="json")
    return document
