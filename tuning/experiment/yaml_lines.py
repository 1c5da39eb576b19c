"""YAML 1.2 as plain values, with the line of every key. A duplicate key is an error.

ruamel parses the file into nodes; this module turns them into plain values, so that a file can only
give text, numbers, booleans, lists and mappings.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trainables.yaml_aliases import OFTEN, repeated_too_often
from tuning.experiment.file_errors import FileError, Location, Path, dotted_key

DEEPEST = 50
"""The most levels of nested lists and mappings."""
_DEEP = f"is nested too deeply: at most {DEEPEST} levels of lists and mappings"
_TAG = "tag:yaml.org,2002:"
_CONSTANTS = {"true": True, "false": False}
_INFINITE = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}


@dataclass
class Document:
    """The value of a file, the line of each key and item, and the errors in its YAML."""

    value: Any = None
    where: dict[Path, Location] = field(default_factory=dict)
    errors: list[FileError] = field(default_factory=list)


def read_yaml(text: str, *, where: Location | None = None) -> Document:
    """Parse `text`. `where` replaces every line number, for text that is not a file."""
    document = Document()
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.context_mark if _is_unclosed(error) else error.problem_mark or error.context_mark
        line = where or (mark.line + 1 if mark else 1)
        document.errors.append(FileError(line, "", f"is not valid YAML: {_reason(error)}"))
        return document
    except YAMLError as error:
        document.errors.append(FileError(where or 1, "", f"is not valid YAML: {str(error).splitlines()[0]}"))
        return document
    except RecursionError:
        document.errors.append(FileError(where or _too_deep(text), "", _DEEP))
        return document
    if node is not None:
        if (line := repeated_too_often(node)) is not None:
            document.errors.append(FileError(where or line, "", OFTEN))
            return document
        document.where[()] = where or node.start_mark.line + 1
        document.value = _Builder(document, where).build(node, ())
    return document


def dump_yaml(value: Mapping[str, Any]) -> str:
    """`value` as YAML; `read_yaml` gives back an equal value."""
    return _dumped(dict(value))


def dump_yaml_list(values: Sequence[Mapping[str, Any]]) -> str:
    """A list of mappings as YAML."""
    return _dumped([dict(value) for value in values])


def _dumped(value: Any) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


class _Builder:
    def __init__(self, document: Document, where: Location | None) -> None:
        self._document = document
        self._where = where
        self._open: list[Node] = []

    def build(self, node: Node, path: Path) -> Any:
        if any(node is outer for outer in self._open):
            self._error(node, path, "contains itself: an alias must not refer to a value that it is part of")
            return None
        if len(self._open) == DEEPEST:
            self._error(node, path[:1], _DEEP)
            return None
        self._open.append(node)
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _item(self, node: Node, path: Path) -> Any:
        self._document.where[path] = self._line(node)
        return self.build(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == _TAG + "merge":
                merged |= self._merged(value_node, path)
                continue
            if not isinstance(key_node, ScalarNode):
                self._error(key_node, path, "a key must be text, got a list or mapping")
                continue
            key = str(key_node.value)
            place = (*path, key)
            if key in found:
                first = self._document.where[place]
                at = f"on line {first}" if isinstance(first, int) else f"in {first}"
                self._error(key_node, place, f"is given twice, first {at}; remove one")
                continue
            self._document.where[place] = self._line(key_node)
            found[key] = self.build(value_node, place)
        return merged | found

    def _merged(self, node: Node, path: Path) -> dict[str, Any]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        values = [self.build(part, path) for part in parts]
        if not all(isinstance(value, dict) for value in values):
            self._error(node, (*path, "<<"), "must refer to a mapping")
            return {}
        return {key: inner for value in reversed(values) for key, inner in value.items()}

    def _scalar(self, node: Node, path: Path) -> Any:
        text, tag = str(node.value), str(node.tag)
        bare = text.replace("_", "").lower()
        match tag.removeprefix(_TAG):
            case "str" | "timestamp" | "value":
                return text
            case "null":
                return None
            case "bool" if bare in _CONSTANTS:
                return _CONSTANTS[bare]
            case "int":
                return _whole(bare)
            case "float":
                return _INFINITE[bare] if bare in _INFINITE else float(bare)
        self._error(node, path, f"has the tag {tag.replace(_TAG, '!!')}; only plain values are allowed")
        return None

    def _line(self, node: Node) -> Location:
        return self._where or int(node.start_mark.line) + 1

    def _error(self, node: Node, path: Path, rule: str) -> None:
        self._document.errors.append(FileError(self._line(node), dotted_key(path), rule))


def _too_deep(text: str) -> int:
    """The line where the nesting becomes too deep. Reading events, unlike nodes, needs no recursion."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            return int(event.start_mark.line) + 1
    return 1


def _whole(text: str) -> int:
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    bases = {"0x": 16, "0o": 8, "0b": 2}
    base = bases.get(digits[:2], 10)
    return sign * int(digits if base == 10 else digits[2:], base)


def _is_unclosed(error: MarkedYAMLError) -> bool:
    return str(error.context or "").startswith("while parsing a flow")


def _reason(error: MarkedYAMLError) -> str:
    if _is_unclosed(error):
        bracket = "{" if "mapping" in str(error.context) else "["
        return f"the '{bracket}' opened here is not closed, or a comma is missing inside it"
    problem = " ".join(str(error.problem or "it cannot be read").split())
    if "'\\t'" in problem:
        return "tabs are not allowed as indentation; use spaces"
    if problem.startswith("mapping values are not allowed"):
        return "a second ':' on one line, or wrong indentation; quote text that contains ': '"
    context = " ".join(str(error.context or "").split())
    return f"{problem} {context}" if context else problem
