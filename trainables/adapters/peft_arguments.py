"""Arguments of PEFT's methods that would do nothing here, or not what they say; torch is not needed.

PEFT accepts them without a word. Each was found by training with it: the outputs were those of PEFT's
default to the bit, or the argument asks for something that a vision backbone does not have or that the
user of PEFT would have to do after every step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from trainables.adapters.peft_patterns import first_match

Arguments = Mapping[str, JsonValue]
Holds = Callable[[JsonValue], bool]


def _given(value: JsonValue) -> bool:
    return value is not None


def _true(value: JsonValue) -> bool:
    return bool(value)


def _false(value: JsonValue) -> bool:
    return value is False


def _more_than_one(value: JsonValue) -> bool:
    return isinstance(value, int) and value > 1


def _one_of(*names: str) -> Holds:
    return lambda value: isinstance(value, str) and value.lower().startswith(names)


@dataclass(frozen=True)
class Refused:
    """An argument that is refused. method: None for every method.  when: for these values."""

    method: str | None
    argument: str
    why: str
    when: Holds = _given


@dataclass(frozen=True)
class Needs:
    """An argument that does nothing unless another one has a certain value.

    default: the other's default in PEFT.  like: a value of the other that fits.
    """

    method: str
    argument: str
    other: str
    default: JsonValue
    fits: Holds
    like: JsonValue


_TRANSPOSED = "it is for layers that store their weights transposed, as GPT-2 does; no backbone here does"
_CONVOLUTIONS = "it is for convolutions, and only linear layers are adapted"
_CORDA = "CorDA needs a preparation of the model on sampled text"
_LOFTQ = "LoftQ quantizes the backbone, which is not supported"
_QALORA = "QALoRA works on GPTQ-quantized layers only, and does nothing on others"
_SHARED = "it overwrites backbone weights, which other trials share"

REFUSED: tuple[Refused, ...] = (
    Refused(None, "fan_in_fan_out", _TRANSPOSED, _true),
    Refused(
        None,
        "sample_at_inference",
        "the model would be random in evaluation, and its metrics those of one draw",
        _true,
    ),
    Refused(
        "LORA",
        "init_lora_weights",
        _CORDA,
        _one_of("corda"),
    ),
    Refused("LORA", "init_lora_weights", _LOFTQ, _one_of("loftq")),
    Refused("LORA", "init_lora_weights", _SHARED, _one_of("pissa", "olora")),
    Refused("LORA", "corda_config", _CORDA),
    Refused("LORA", "loftq_config", _LOFTQ, _true),
    Refused("LORA", "use_qalora", _QALORA, _true),
    Refused("LORA", "qalora_group_size", _QALORA),
    Refused("LORA", "alora_invocation_tokens", "it activates the adapter at text tokens, which images lack"),
    Refused("LORA", "megatron_config", "it is for Megatron's parallel layers, which no backbone here has"),
    Refused("LORA", "megatron_core", "it is for Megatron's parallel layers, which no backbone here has"),
    Refused("LORA", "arrow_config", "it combines LoRA adapters that are already trained"),
    Refused("LORA", "kasa_config", _SHARED),
    Refused(
        "LORA",
        "monteclora_config",
        "MonteCLoRA adds a term to the loss and draws from a buffer of noise that no checkpoint holds",
    ),
    Refused("LORA", "ensure_weight_tying", "it is for tied token embeddings, which are never adapted", _true),
    Refused(
        "ADAMSS",
        "use_asa",
        "it freezes and thaws weights after every step, which freezing here would undo",
        _true,
    ),
    *(
        Refused("ADAMSS", name, "it is a setting of use_asa, which cannot be used")
        for name in (
            "asa_target_subspaces",
            "init_warmup",
            "final_warmup",
            "mask_interval",
            "asa_importance_beta",
            "asa_uncertainty_beta",
            "asa_schedule_exponent",
        )
    ),
    Refused(
        "BOFT",
        "boft_n_butterfly_factor",
        "PEFT sets it to 1 unless its CUDA extension was compiled, so it depends on the machine",
        lambda value: value != 1,
    ),
    Refused("C3A", "init_weights", "it is the same as xavier_uniform, the default", _false),
    Refused("HIRA", "rank_pattern", "PEFT reads it and then gives every layer rank r", _true),
    Refused("LOHA", "use_effective_conv2d", _CONVOLUTIONS, _true),
    Refused("LOKR", "use_effective_conv2d", _CONVOLUTIONS, _true),
    Refused("OFT", "module_dropout", "PEFT makes the layer for it and never calls it", _true),
    Refused("OSF", "target_svd_config", "PEFT accepts and ignores it"),
    Refused("PSOFT", "psoft_alpha", "it is divided out again, so the scale is always 1"),
    Refused("TINYLORA", "init_weights", "PEFT leaves the weights uninitialised then", _false),
)

NEEDS: tuple[Needs, ...] = (
    Needs("LORA", "eva_config", "init_lora_weights", True, _one_of("eva"), "eva"),
    Needs("LORA", "lora_ga_config", "init_lora_weights", True, _one_of("lora_ga"), "lora_ga"),
    Needs("ADAMSS", "svd_threshold", "use_dynamic_rank", False, _true, True),
    Needs("ADAMSS", "svd_threshold", "subspace_rank", 1, _more_than_one, 4),
    Needs("DEFT", "init_scale", "init_weights", True, _false, False),
    Needs("LOKR", "rank_dropout_scale", "rank_dropout", 0.0, _true, 0.5),
    Needs("MISS", "mini_r", "init_weights", True, _one_of("mini"), "mini"),
    Needs("OFT", "eps", "coft", False, _true, True),
    Needs("OFT", "num_cayley_neumann_terms", "use_cayley_neumann", True, _true, True),
    Needs("PSOFT", "psoft_svd_lowrank_niter", "psoft_svd", "full", _one_of("lowrank"), "lowrank"),
    Needs("PSOFT", "random_seed", "psoft_svd", "full", _one_of("lowrank"), "lowrank"),
    Needs("PSOFT", "use_cayley_neumann", "psoft_orth", True, _true, True),
    Needs("PSOFT", "num_cayley_neumann_terms", "use_cayley_neumann", False, _true, True),
    Needs("PSOFT", "cayley_neumann_eps", "use_cayley_neumann", False, _true, True),
    Needs("SUPERTUNING", "lora_dropout", "r", None, _given, 4),
    Needs("SUPERTUNING", "lora_alpha", "r", None, _given, 4),
    Needs("TINYLORA", "init_v_bound", "init_weights", True, _one_of("uniform"), "uniform"),
)

PRACTICAL = frozenset(
    {
        "progressbar",
        "runtime_offload_base_weight",
        "save_indices",
        "save_only_topk_weights",
        "save_precomputed_indices",
        "save_projection",
    }
)
"""Arguments that decide what PEFT stores, shows, or keeps in memory; results do not depend on them."""

_OF_TEXT = ("use_label_mask", "label_mask_value")
_VARIANTS = ("use_dora", "velora_config", "use_bdlora")


def argument_faults(method: str, arguments: Arguments, hidden: int = 0) -> list[str]:
    """The arguments that are refused, with reasons. hidden: the width of a token, 0 if unknown."""
    upper = method.upper()
    found = [
        f"peft.arguments.{rule.argument} {_shown(value)} cannot be used here: {rule.why}; remove it"
        for rule in REFUSED
        if rule.method in (None, upper)
        and rule.argument in arguments
        and rule.when(value := arguments[rule.argument])
    ]
    for need in NEEDS:
        if need.method == upper and need.argument in arguments:
            value = arguments.get(need.other, need.default)
            if not need.fits(value):
                found.append(
                    f"peft.arguments.{need.argument} has no effect without {need.other}, such as "
                    f"{need.other}: {_shown(need.like)}; set both or remove it"
                )
    return [*found, *_more(upper, arguments, hidden)]


def _more(method: str, arguments: Arguments, hidden: int) -> Iterator[str]:
    rule = _BY_METHOD.get(method)
    if rule is not None:
        yield from rule(arguments, hidden)


def _lora(arguments: Arguments, hidden: int) -> Iterator[str]:
    init = str(arguments.get("init_lora_weights", "")).lower()
    given = arguments.get("eva_config")
    for name in _OF_TEXT:
        if isinstance(given, dict) and name in given:
            yield f"peft.arguments.eva_config.{name} is for language models and has no effect; remove it"
    for name in _VARIANTS:
        if init == "lora_ga" and arguments.get(name):
            yield (f"peft.arguments.{name} cannot be combined with init_lora_weights 'lora_ga'; remove one")
    blocks = arguments.get("use_bdlora")
    if isinstance(blocks, dict) and blocks.get("nblocks", 1) == 1:
        yield "peft.arguments.use_bdlora with nblocks 1 is plain LoRA; set nblocks to 2 or more"
    compressed = arguments.get("velora_config")
    if isinstance(compressed, dict) and compressed.get("init_type") == "batch_average_once":
        yield (
            "peft.arguments.velora_config.init_type batch_average_once notes that it was computed where no "
            "checkpoint holds it; use batch_average or random"
        )
    rank = arguments.get("r", 8)
    if init == "lora_ga" and hidden and isinstance(rank, int) and 2 * rank > hidden:
        yield (
            f"peft.arguments.r {rank} is too high for init_lora_weights 'lora_ga', which needs 2 · r "
            f"directions of a layer that has {hidden}; use at most {hidden // 2}"
        )


def _adamss(arguments: Arguments, hidden: int) -> Iterator[str]:
    rank = arguments.get("r")
    if hidden and isinstance(rank, int) and rank > hidden:
        yield (
            f"peft.arguments.r {rank} is the same as {hidden}, the rank of the narrowest layer; "
            f"use at most {hidden}"
        )


def _osf(arguments: Arguments, hidden: int) -> Iterator[str]:
    """`effective_rank` directions are frozen; with all of them nothing is left to train."""
    named: dict[str, JsonValue] = {"effective_rank": arguments.get("effective_rank")}
    pattern = arguments.get("rank_pattern")
    if isinstance(pattern, dict):
        named |= {f"rank_pattern.{key}": value for key, value in pattern.items()}
    for name, value in named.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        whole = isinstance(value, float) and value == 1.0
        if whole or (hidden and value >= hidden):
            limit = (
                f"less than {hidden}, the layer's smaller width, or a share below 1"
                if hidden
                else "a share below 1"
            )
            yield f"peft.arguments.{name} {value} freezes every direction, so nothing trains; use {limit}"


_BY_METHOD: Mapping[str, Callable[[Arguments, int], Iterator[str]]] = {
    "ADAMSS": _adamss,
    "LORA": _lora,
    "OSF": _osf,
}


def pattern_faults(method: str, arguments: Arguments, layers: Sequence[str]) -> list[str]:
    """The keys of `…_pattern` arguments that match none of `layers`, or only those of an earlier key."""
    found = []
    for name, pattern in arguments.items():
        if not name.endswith("_pattern") or not isinstance(pattern, dict):
            continue
        try:
            used = {first_match(method.upper(), pattern, layer) for layer in layers}
        except re.error as error:
            found.append(f"peft.arguments.{name}: a key is no regular expression: {error}")
            continue
        found += [
            f"peft.arguments.{name}: '{key}' matches no adapted layer that an earlier key does not match; "
            f"the layers end in {', '.join(sorted({layer.rpartition('.')[2] for layer in layers}))}, "
            f"such as {layers[0]}"
            for key in pattern
            if key not in used
        ]
    return found


def _shown(value: JsonValue) -> str:
    return json.dumps(value)
