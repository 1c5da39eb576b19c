from __future__ import annotations

from pathlib import Path

import jsonschema

from search_spaces.catalog import shipped_experiments
from tuning.experiment.json_schema import attribute_docs, experiment_schema
from tuning.experiment.settings import setting_names
from tuning.experiment.spec import NOT_IN_FILES, Experiment
from tuning.experiment.yaml_lines import read_yaml

ROOT = Path(__file__).parents[3]


def test_the_schema_accepts_what_is_valid_and_knows_the_space(file: Path) -> None:
    schema = experiment_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in [file, *(space.path for space in shipped_experiments())]:
        assert not [error.message for error in validator.iter_errors(read_yaml(path.read_text()).value)]
    valid = {"name": "a", "task": "detection", "objective": {"metric": "map"}}
    for wrong in (
        {"space": {"lora.rank": {"choice": ["eight"]}}},
        {"space": {"lora": {"rnak": {"choice": [8]}}}},
        {"space": {"loss": {"int": [1, 3]}}},
        {"space": {"lora.rank": {"int": [1, 8], "prior": {"confidence": 0.5}}}},
        {"space": {"lora.rank": {"int": [1, 8], "prior": {"value": 4, "confidence": 1}}}},
        {"space": {"lora.rank": {"int": [1, 8], "prior": {"value": "four"}}}},
        {"space": {"learning_rate": {"float": [1e-4, 1e-2], "scale_with": "lora.dropout"}}},
        {"space": {"weight_decay": {"float": [0.0, 0.1], "scale_with": "lora.rank"}}},
        {"trial": {"lora.rank": 0}},
        {"scheduler": "bohb"},
        {"scheduler": {"asha": {"fidelity": "epochs"}}},
        {"scheduler": {"asha": {"fidelity": {"resolution": [32]}}}},
        {"source_text": ""},
        {"definitions": {"dice": 2}},
    ):
        assert not validator.is_valid(valid | wrong), wrong
    prior = {"lora.rank": {"int": [1, 8], "prior": {"value": 4, "confidence": 0.5}}}
    assert validator.is_valid(valid | {"space": prior})
    scaled = {"learning_rate": {"float": [1e-4, 1e-2], "scale_with": "lora.rank"}}
    assert validator.is_valid(valid | {"space": scaled})


def test_a_short_form_is_in_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(experiment_schema())
    valid = {"name": "a", "task": "detection", "objective": {"metric": "map"}}
    for fidelity in ("resolution", {"resolution": [32, 64]}, {"resolution": [[32, 48], [64, 96]]}, {}):
        assert validator.is_valid(valid | {"scheduler": {"asha": {"fidelity": fidelity}}}), fidelity


def test_every_setting_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "experiment-file.md").read_text()
    missing = [name for name in setting_names() if f"`{name}`" not in text]
    parts = [name for name in Experiment.model_fields if name not in NOT_IN_FILES and f"`{name}`" not in text]
    assert not missing
    assert not parts


def test_attribute_docs_are_read_from_source() -> None:
    assert attribute_docs(Experiment)["retries"].startswith("The number of times that a trial is restarted")
