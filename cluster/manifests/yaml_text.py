"""YAML of manifests, as people would write it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """The documents as YAML, in the order of their keys. Text of several lines is shown line by line."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump_all([_shown(document) for document in documents], stream)
    return stream.getvalue()


def _shown(value: Any) -> Any:
    match value:
        case dict():
            return {key: _shown(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_shown(inner) for inner in value]
        case str() if "\n" in value:
            return LiteralScalarString(value)
        case _:
            return value
