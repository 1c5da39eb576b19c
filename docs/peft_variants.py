"""Every method of the installed PEFT, and every argument of each at another value than its default.

Both lists come from PEFT: the methods from its registry, the arguments from the fields of its config
classes, the values from the fields' types and defaults. `EXAMPLES` has values only where a type says nothing,
and `WITH` has the other arguments that a value needs to fit the small embedded backbones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from trainables.adapters.families.passthrough import OWN, offered_methods
from trainables.adapters.peft_arguments import NEEDS

DEFAULTS: Mapping[str, dict[str, Any]] = {
    "C3A": {"block_size": 8},
    "MISS": {"r": 8},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 4},
    "VBLORA": {"vector_length": 8, "num_vectors": 12, "topk": 2},
}
"""Arguments in place of PEFT's defaults, which are made for widths of thousands and do not fit 96 and 128."""

QUERY = "(query|q_proj)"
EXAMPLES: Mapping[tuple[str, str], Any] = {
    ("LORA", "megatron_core"): "megatron.other",
    ("LORA", "megatron_config"): {"tensor_model_parallel_size": 1},
    ("LORA", "loftq_config"): {"loftq_bits": 4},
    ("LORA", "use_bdlora"): {"target_modules_bd_a": ["query", "q_proj"], "nblocks": 2, "match_strict": False},
    ("OSF", "target_svd_config"): {"layer.weight": 8},
    ("PSOFT", "cayley_neumann_eps"): 0.001,
    ("PEANUT", "act_fn"): "gelu",
    ("WAVEFT", "wavelet_family"): "db2",
    ("BOFT", "boft_block_num"): 8,
    ("ADAMSS", "svd_threshold"): 0.95,
    ("OFT", "r"): 4,
    ("LOKR", "decompose_factor"): 4,
    ("RANDLORA", "r"): 16,
}
"""Values that the field's type does not give, or that must fit a width."""

INITIALISATIONS = (
    "gaussian",
    "eva",
    "olora",
    "pissa",
    "pissa_niter_4",
    "corda",
    "loftq",
    "orthogonal",
    "mica",
    "lora_ga",
)
"""LoRA's: the field's type leaves one out, and has a placeholder."""

WITH: Mapping[tuple[str, str], dict[str, Any]] = {
    ("BOFT", "boft_block_num"): {"boft_block_size": 0},
    ("OFT", "r"): {"oft_block_size": 0},
    ("LOKR", "decompose_both"): {"r": 2},
    ("LORA", "eva_config"): {"r": 5},
    ("ADAMSS", "r"): {"r": 50},
}
"""Other arguments without which a value is rejected or has no effect at these widths."""


@dataclass(frozen=True)
class Variant:
    """One call of a method. argument: the one that differs, dotted if nested; None for the defaults."""

    method: str
    argument: str | None
    value: Any
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name in tests and messages."""
        return self.method if self.argument is None else f"{self.method}-{self.argument}={self.value}"

    @property
    def base(self) -> Mapping[str, Any]:
        """The same call without the argument that differs."""
        if self.argument is None:
            return self.arguments
        top, _, inner = self.argument.partition(".")
        if inner:
            rest = {k: v for k, v in self.arguments[top].items() if k != inner}
            return {**self.arguments, top: rest}
        kept = {k: v for k, v in self.arguments.items() if k != top}
        return kept | {k: v for k, v in DEFAULTS.get(self.method, {}).items() if k == top}


def methods() -> list[str]:
    """All methods in PEFT's registry."""
    return sorted(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING)


def arguments_of(method: str) -> list[str]:
    """All arguments of a method that a user may set."""
    kind = next(kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind.value == method)
    fields = dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])
    return [field.name for field in fields if field.init and field.name not in OWN]


@cache
def variants() -> tuple[Variant, ...]:
    """Each offered method with its defaults, then with each argument at other values."""
    found = []
    for method in offered_methods():
        base = DEFAULTS.get(method, {})
        found.append(Variant(method, None, None, base))
        for argument in arguments_of(method):
            for name, value in _values(method, argument):
                found.append(_variant(method, argument, name, value))
    return tuple(found)


def _variant(method: str, argument: str, name: str, value: Any) -> Variant:
    needed = {n.other: n.like for n in NEEDS if n.method == method and n.argument == argument}
    for need in [n for n in NEEDS if n.method == method and n.argument in needed]:
        needed.setdefault(need.other, need.like)
    base = {**DEFAULTS.get(method, {}), **needed, **WITH.get((method, argument), {})}
    shown = value[name.partition(".")[2]] if "." in name else value
    return Variant(method, name, shown, {**base, argument: value})


def _values(method: str, argument: str) -> Iterator[tuple[str, Any]]:
    """The argument's name, dotted for a key of a nested config, and its whole value."""
    if (method, argument) == ("LORA", "init_lora_weights"):
        yield from ((argument, value) for value in (False, *INITIALISATIONS))
        return
    if (method, argument) in EXAMPLES:
        yield argument, EXAMPLES[method, argument]
        return
    kind = next(kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind.value == method)
    made = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    field = next(field for field in dataclasses.fields(made) if field.name == argument)
    hint, default = get_type_hints(made)[argument], DEFAULTS.get(method, {}).get(argument, _default(field))
    if argument.endswith("_pattern"):
        yield argument, {QUERY: 2}
        return
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
    if nested is None:
        yield from ((argument, value) for value in _others(options, default, f"{method}.{argument}"))
        return
    if not any(need.argument == argument for need in NEEDS if need.method == method):
        yield argument, {}  # which switches something on, with its defaults
    for part in dataclasses.fields(nested):  # type: ignore[arg-type]
        if part.init:
            own = get_type_hints(nested)[part.name]
            inner = get_args(own) if get_origin(own) in (Union, UnionType) else (own,)
            for value in _others(inner, _default(part), f"{method}.{argument}.{part.name}"):
                yield f"{argument}.{part.name}", {part.name: value}


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def _others(options: tuple[Any, ...], default: Any, name: str) -> list[Any]:
    """Other values than the default: all of a literal, an enum or a flag, one of a number."""
    found: list[Any] = []
    for option in options:
        kind = get_origin(option) or option
        if kind is Literal:
            found += get_args(option)
        elif isinstance(kind, type) and issubclass(kind, Enum):
            found += [member.value for member in kind]
        elif kind is bool:
            found += [True, False]
    if not found:
        found = _numbers(options, default)
    found = [value for value in found if value != default or type(value) is not type(default)]
    if not found and type(None) in options and default is not None:
        return [None]
    if not found and not any(get_origin(option) is Literal for option in options):
        raise ValueError(f"no value for {name} can be derived from its type; add one to EXAMPLES")
    return found


def _numbers(options: tuple[Any, ...], default: Any) -> list[Any]:
    if isinstance(default, float):
        return [default / 2 if default else 0.25]
    if isinstance(default, int):
        return [default // 2 if default >= 4 else default * 2 if default > 0 else 1 if default == 0 else 4]
    kinds = [get_origin(option) or option for option in options]
    if int in kinds:
        return [4]
    if float in kinds:
        return [0.5]
    if str in kinds and default is None:
        return ["text"]
    if list in kinds:
        return [["query"]] if str in get_args(options[kinds.index(list)]) else [[1]]
    return []
