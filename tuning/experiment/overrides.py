"""`--set key=value`: changes to a file's plain values before they are checked. The override wins.

`key` is dotted, `value` is YAML. A setting that an override fixes is no longer searched, and one that an
override searches is no longer fixed; `space.NAME=null` removes a parameter. Conditions on values that an
override removed are dropped, together with everything that depends on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from tuning.experiment.alternative import DOMAIN_KEYS, Alternative
from tuning.experiment.file_errors import SET, FileError, Path, suggestion
from tuning.experiment.settings import SettingKind, find_setting
from tuning.experiment.space import ADAPTER, SECTION_NAMES, Space
from tuning.experiment.yaml_lines import Document, read_yaml


def apply_overrides(document: Document, overrides: Sequence[str]) -> frozenset[str]:
    """Change `document` in place; return the settings of trials that were touched.

    Errors in an override are added to the document's errors.
    """
    touched = set()
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key or not all(key.split(".")):
            document.errors.append(FileError(SET, override, "must be key=value, such as trial.epochs=5"))
            continue
        value = read_yaml(text, where=SET)
        if value.errors:
            document.errors += [FileError(SET, key, f"{error.rule}, got '{text}'") for error in value.errors]
            continue
        steps = _steps(key)
        if steps[0] in ("space", "trial") and (name := _setting_of(steps[1:])):
            touched.add(name)
            _take_out(document, "trial" if steps[0] == "space" else "space", name)
        try:
            _put(document, steps, value.value)
        except (IndexError, _NotThereError) as error:
            document.errors.append(FileError(SET, key, str(error)))
    return frozenset(touched)


def narrow_space(space: Space, trial: Mapping[str, JsonValue], touched: frozenset[str]) -> Space:
    """The space without the conditions and domains that can no longer apply after the overrides."""
    root, changed = dict(space.root), set(touched)

    def takes(name: str, value: JsonValue) -> bool:
        if name in root:
            return any(domain.match(value) for domain in root[name])
        return bool(trial.get(name, "lora" if name == ADAPTER else None) == value)

    def kept(name: str, domain: Alternative) -> Alternative | None:
        section, when = name.split(".")[0], dict(domain.when)
        if section in SECTION_NAMES and ADAPTER in changed and not takes(ADAPTER, section):
            return None
        for parent in changed & when.keys():
            left = tuple(value for value in when.pop(parent) if takes(parent, value))
            if not left:
                return None
            if parent in root:
                when[parent] = left
        return domain.model_copy(update={"when": when})

    before = None
    while root != before:
        before = dict(root)
        for name, domains in before.items():
            left = tuple(k for domain in domains if (k := kept(name, domain)) is not None)
            if left:
                root[name] = left
            else:
                del root[name]
            if len(left) < len(domains):
                changed.add(name)
    return Space(root)


def drop_first_outside(
    first: Sequence[dict[str, JsonValue]],
    space: Space,
    trial: Mapping[str, JsonValue],
    touched: frozenset[str],
) -> list[dict[str, JsonValue]]:
    """`search.first` without the configurations that an override has put outside the space.

    A setting that an override fixed is removed from the configurations with that value; configurations
    with another value are dropped. Other errors are left to the checks.
    """
    kept = []
    for params in first:
        names = touched & params.keys()
        fixed = {name for name in names if name not in space.root and trial.get(name) == params[name]}
        left = {name: value for name, value in params.items() if name not in fixed}
        gone = any(name not in space.root for name in left) or space.locate(left)[1]
        if not (names and gone):
            kept.append(left)
    return kept


def drop_groups_outside(scheduler: Any, space: Space, gone: Callable[[str], bool]) -> Any:
    """The plain value of `scheduler` without those names in `asha.within` that an override has put outside.

    gone: whether an override may have taken a setting out of the space. Other errors are left to the checks.
    """
    asha = scheduler.get("asha") if isinstance(scheduler, dict) else None
    within = asha.get("within") if isinstance(asha, dict) else None
    if not isinstance(asha, dict) or not isinstance(within, list):
        return scheduler
    left = [name for name in within if name in space.root or not (isinstance(name, str) and gone(name))]
    return scheduler | {
        "asha": {key: v for key, v in asha.items() if key != "within" or left}
        | ({"within": left} if left else {})
    }


def _setting_of(steps: Sequence[str | int]) -> str | None:
    """The setting that the steps name, or that has a key of its domain named by them."""
    names = [step for step in steps if isinstance(step, str)]
    for depth in range(len(names), 0, -1):
        known = find_setting(".".join(names[:depth]))
        if known is not None and known.kind is not SettingKind.SECTION:
            return known.name
    return None


def _steps(key: str) -> list[str | int]:
    steps: list[str | int] = []
    for part in key.split("."):
        name, *indices = re.split(r"\[(\d+)\]", part)
        steps += [name, *(int(index) for index in indices if index)]
    return steps


def _put(document: Document, steps: list[str | int], value: Any) -> None:
    """Set a value, or remove what null removes: a parameter of `space`, a domain of the data.

    Raises IndexError for an item that a list does not have, or that is not in a list, and _NotThereError
    for a parameter or a domain that is to be removed and is not there.
    """
    node: Any = document.value
    path: Path = ()
    while True:
        key, steps = _next(node, steps)
        path = (*path, key)
        if not steps:
            break
        inner = node.get(key) if isinstance(node, dict) else node[key]
        if path == ("objective",) and isinstance(inner, list) and not isinstance(steps[0], int):
            raise _NotThereError("is in a list of objectives; give its place, as in objective[0].metric")
        if not isinstance(inner, dict | list) or (isinstance(inner, list) and not isinstance(steps[0], int)):
            _forget(document, path)
            inner = node[key] = {}
        node = inner
    _forget(document, path)
    if value is None and isinstance(node, dict) and isinstance(key, str):
        if path[0] == "space" and len(path) > 1:
            _remove(node, key, path)
            return
        if path[:2] == ("data", "domains") and len(path) == 3:
            _require(key, node, "the data has no such domain, so it cannot be removed")
    node[key] = value


class _NotThereError(ValueError):
    """What null would remove is not there."""


def _remove(node: dict[str, Any], key: str, path: Path) -> None:
    """Remove a parameter, a key of its domain, or all parameters of a section."""
    inside = [name for name in node if name.startswith(f"{key}.")]
    if key not in node and inside:
        for name in inside:
            del node[name]
        return
    if path[1:] != (key,) and any(part in DOMAIN_KEYS for part in path[1:]):
        node.pop(key, None)
        return
    _require(key, node, "the space has no such parameter, so it cannot be removed")
    del node[key]


def _require(key: str, node: Mapping[str, Any], rule: str) -> None:
    if key not in node:
        raise _NotThereError(f"{rule}{suggestion(key, node)}")


def _next(node: Any, steps: list[str | int]) -> tuple[str | int, list[str | int]]:
    """The key of `node` that the first steps name (it may contain dots), and the remaining steps."""
    first = steps[0]
    if isinstance(first, int):
        if not isinstance(node, list):
            raise IndexError(f"is not a list, so it has no item [{first}]")
        if first >= len(node):
            raise IndexError(f"has no item [{first}]; its length is {len(node)}, and positions start at 0")
        return first, steps[1:]
    names = [step for step in steps if isinstance(step, str)]
    for count in range(len(names), 1, -1):
        joined = ".".join(names[:count])
        if isinstance(node, dict) and joined in node and steps[:count] == names[:count]:
            return joined, steps[count:]
    return first, steps[1:]


def _forget(document: Document, path: Path) -> None:
    """Attribute everything at and below `path` to the override instead of a line of the file."""
    for known in [p for p in document.where if p[: len(path)] == path]:
        del document.where[known]
    document.where[path] = SET


def _take_out(document: Document, part: str, name: str) -> None:
    """Remove a setting from `trial` or `space`, whether it is nested or dotted there."""
    above: list[tuple[dict[Any, Any], str | int]] = [(document.value, part)]
    rest: list[str | int] = list(name.split("."))
    while rest:
        node = above[-1][0].get(above[-1][1])
        if not isinstance(node, dict):
            return
        key, rest = _next(node, rest)
        above.append((node, key))
    if above[-1][1] not in above[-1][0]:
        return
    while len(above) > 1:
        node, key = above.pop()
        del node[key]
        if node:
            return
