"""The JSON Schema of an experiment file, for completion in an editor.

It is never stricter than reading a file, which also checks whether the parts fit together.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from typing import Any

from pydantic import BaseModel

from trainables.specs.trial import TrialConfig
from tuning.experiment.prior import Prior
from tuning.experiment.scaled_rates import DEFAULTS, RATES
from tuning.experiment.settings import bare_type
from tuning.experiment.spec import NOT_IN_FILES, Experiment

Schema = dict[str, Any]


def experiment_schema() -> Schema:
    """The schema of an experiment file, in which `trial` and `space` may be nested or dotted."""
    model = Experiment
    schema = model.model_json_schema()
    trial = TrialConfig.model_json_schema()
    definitions: Schema = schema.setdefault("$defs", {})
    definitions |= trial.pop("$defs", {})
    _describe(schema, model)
    _describe(trial, TrialConfig)
    for name in ("Alternative", "Space"):
        definitions.pop(name, None)
    properties: Schema = schema["properties"]
    for name in NOT_IN_FILES:
        del properties[name]
    definitions.pop("Definitions", None)
    properties["objective"] = _objective(properties["objective"])
    properties["trial"] = _trial(trial, definitions)
    properties["space"] = _space(trial, definitions)
    properties["scheduler"] = {"anyOf": [{"const": "none"}, properties["scheduler"]]}
    definitions["FidelitySpec"] = _fidelity(definitions["FidelitySpec"])
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "adaptertune experiment"
    return schema


def _objective(first: Schema) -> Schema:
    """One objective, or a list of them."""
    items = {"type": "array", "minItems": 1, "prefixItems": [first]}
    items["items"] = {"$ref": "#/$defs/FurtherObjective"}
    return {"anyOf": [first, items], "description": "What a sweep optimises: one metric, or a list."}


def _fidelity(whole: Schema) -> Schema:
    """The name alone, or chosen sizes, of which a number is a square."""
    side: Schema = {"type": "integer", "minimum": 1}
    size = {"anyOf": [side, {"type": "array", "items": side, "minItems": 2, "maxItems": 2}]}
    described = whole["properties"]["resolution"]
    sizes = {"anyOf": [{"type": "array", "items": size, "minItems": 2}, {"type": "null"}]}
    sizes |= {key: described[key] for key in ("description", "default") if key in described}
    return {"anyOf": [{"const": "resolution"}, whole | {"properties": {"resolution": sizes}}]}


def attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field in the class's source, on one line."""
    return _docs_of(model.__module__).get(model.__name__, {})


@cache
def _docs_of(module: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if not isinstance(node, ast.ClassDef):
            continue
        docs = found.setdefault(node.name, {})
        for field, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                docs[field.target.id] = " ".join(text.value.value.split())
    return found


def _describe(schema: Schema, model: type[BaseModel]) -> None:
    for model_class, part in ((model, schema), *_inner(model, schema)):
        for attribute, text in attribute_docs(model_class).items():
            field = model_class.model_fields.get(attribute)
            name = attribute if field is None else field.alias or attribute
            if name in part.get("properties", {}):
                part["properties"][name]["description"] = text


def _inner(model: type[BaseModel], schema: Schema) -> list[tuple[type[BaseModel], Schema]]:
    found = []
    for field in model.model_fields.values():
        inner = bare_type(field.annotation)
        if (
            isinstance(inner, type)
            and issubclass(inner, BaseModel)
            and inner.__name__ in schema.get("$defs", {})
        ):
            found += [(inner, schema["$defs"][inner.__name__])]
            found += [(m, schema["$defs"].get(m.__name__, {})) for m, _ in _inner(inner, schema)]
    return found


WEIGHT: Schema = {"type": "number", "exclusiveMinimum": 0}
"""The schema of a class's weight in the loss."""


def _trial(trial: Schema, definitions: Schema) -> Schema:
    properties = dict(trial["properties"])
    for name, inner in trial["properties"].items():
        for key, field in _fields(inner, definitions).items():
            properties[f"{name}.{key}"] = field
    return {
        "type": "object",
        "description": "Settings that are the same in all trials, nested or dotted (lora.rank).",
        "properties": properties,
        "patternProperties": {r"^peft\.arguments\.": {}, r"^loss_weights\.": WEIGHT},
        "additionalProperties": False,
    }


def _space(trial: Schema, definitions: Schema) -> Schema:
    properties: Schema = {}
    for name, field in trial["properties"].items():
        inner = _fields(field, definitions)
        domain = _domain(name, field, definitions)
        if inner:
            nested = {key: _domain(f"{name}.{key}", one, definitions) for key, one in inner.items()}
            properties |= {f"{name}.{key}": one for key, one in nested.items()}
            if "arguments" in nested:
                nested["arguments"] = {"type": "object"}
            section = {"type": "object", "properties": nested, "additionalProperties": False}
            domain = {"anyOf": [section, *domain["anyOf"]]}
        if "additionalProperties" in field:  # a mapping by the data's classes
            named = {"type": "object", "additionalProperties": _domain(f"{name}.CLASS", WEIGHT, definitions)}
            domain = {"anyOf": [named, *domain["anyOf"]]}
        properties[name] = domain
    return {
        "type": "object",
        "description": "The settings to search, nested or dotted, each with its domain.",
        "properties": properties,
        "patternProperties": {
            r"^peft\.arguments\.": _domain("argument", {}, definitions),
            r"^loss_weights\.": {"$ref": "#/$defs/domain%20of%20loss_weights.CLASS"},
        },
        "additionalProperties": False,
    }


def _domain(name: str, field: Schema, definitions: Schema) -> Schema:
    """One domain, or a list of alternatives with conditions that exclude each other."""
    keys: Schema = {"choice": {"type": "array", "minItems": 1, "items": _without_notes(field)}}
    if not field or _types(field, definitions) & {"integer", "number"}:
        pair = {"type": "array", "minItems": 2, "maxItems": 2}
        keys["int"] = pair | {"items": {"type": "integer"}, "description": "[low, high], both included"}
        if not field or "number" in _types(field, definitions):
            keys["float"] = pair | {"items": {"type": "number"}, "description": "[low, high], both included"}
        keys["log"] = {"type": "boolean", "description": "uniform in the logarithm"}
        keys["step"] = {"type": "number", "exclusiveMinimum": 0}
    keys["prior"] = _prior(field)
    if name in RATES:
        keys["scale_with"] = {
            "enum": list(DEFAULTS),
            "description": "the trial's rate is value × default ÷ this",
        }
    keys["when"] = {
        "type": "object",
        "description": "other parameters, each with the value or values under which this domain applies",
    }
    one: Schema = {"type": "object", "properties": keys, "additionalProperties": False}
    one["oneOf"] = [{"required": [kind]} for kind in ("choice", "int", "float") if kind in keys]
    if "description" in field:
        one["description"] = field["description"]
    definitions[f"domain of {name}"] = one
    reference = {"$ref": f"#/$defs/domain%20of%20{name}"}
    return {"anyOf": [reference, {"type": "array", "minItems": 1, "items": reference}]}


def _prior(field: Schema) -> Schema:
    """What a user believes of a parameter."""
    schema = Prior.model_json_schema()
    docs = attribute_docs(Prior)
    confidence = schema["properties"]["confidence"] | {"description": docs["confidence"]}
    return {
        "type": "object",
        "description": "the value that is probably good, and how sure that is",
        "properties": {"value": _without_notes(field), "confidence": confidence},
        "required": ["value"],
        "additionalProperties": False,
    }


def _fields(field: Schema, definitions: Schema) -> Schema:
    """The settings of a section; an empty mapping for anything else."""
    for part in field.get("anyOf", [field]):
        reference = part.get("$ref") or next((p["$ref"] for p in part.get("allOf", []) if "$ref" in p), None)
        if reference is not None:
            inner = definitions[reference.removeprefix("#/$defs/")]
            return dict(inner.get("properties", {}))
    return {}


def _types(field: Schema, definitions: Schema) -> set[str]:
    return {part["type"] for part in field.get("anyOf", [field]) if isinstance(part.get("type"), str)}


def _without_notes(field: Schema) -> Schema:
    return {key: value for key, value in field.items() if key not in ("default", "title", "description")}
