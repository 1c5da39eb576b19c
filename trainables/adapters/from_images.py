"""Initial weights of LoRA that are computed from training images: EVA and LoRA-GA.

PEFT computes both, but only if its user calls it before training. Both need forward passes of the
unadapted model, LoRA-GA backward passes too; `Probe` makes them. A restored trial takes its weights from
its checkpoint and computes nothing.

EVA (Paischer 2024): A holds the leading principal directions of a layer's inputs, B is zero. Ranks move to
the layers whose inputs need more directions; a layer that is left without a rank is not adapted.

LoRA-GA (Wang 2024): A and B hold singular vectors of the loss's gradient, so that the first steps follow
full fine-tuning. The method subtracts s·B₀A₀ from the weights, which trials share here; so `CentredLinear`
subtracts it from the output: W x + s·(B A − B₀A₀) x, the same function. It is exported as LoRA of twice the
rank.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from peft import EvaConfig, LoraConfig, LoraGAConfig, PeftConfig, preprocess_loraga
from peft.tuners.lora.eva import get_eva_state_dict
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.utils.other import get_pattern_key
from torch import Tensor, nn
from torch.nn.functional import linear

from trainables.adapters.families.lora import lora_at_scale_one
from trainables.adapters.family import ADAPTER_NAME, Exported, Kept
from trainables.errors import AdapterError
from trainables.specs.adapters import LoraInit

MOST_BATCHES = 500
"""The most batches until EVA's directions must have settled; PEFT alone would repeat them for ever."""
GRADIENT_BATCHES = 8
"""The batches that LoRA-GA averages the gradient over."""


class Probe(Protocol):
    """Training images, in batches, for a look at the unadapted model before training."""

    @property
    def batches(self) -> int:
        """The number of batches, at least 1."""
        ...

    @property
    def images(self) -> int:
        """The number of training images."""
        ...

    def forward(self, model: nn.Module, number: int) -> None:
        """One batch through the model."""
        ...

    def backward(self, model: nn.Module, number: int) -> None:
        """One batch through the model, and its mean loss back."""
        ...


Start = Probe | Kept
"""Images to compute initial weights from; or, if a checkpoint has the weights, what it says of them."""


def init_of(config: PeftConfig | None) -> LoraInit | None:
    """The initialisation of `config` that needs images, if it has one."""
    named = getattr(config, "init_lora_weights", None) if isinstance(config, LoraConfig) else None
    return LoraInit(named) if named in (LoraInit.EVA.value, LoraInit.LORA_GA.value) else None


@dataclass(frozen=True)
class Prepared:
    """The configuration to inject, and the values of A that replace PEFT's, by layer."""

    config: LoraConfig
    down: Mapping[str, Tensor]


def prepare_lora(model: nn.Module, config: LoraConfig, start: Start | None) -> Prepared:
    """Compute what the initialisation of `config` needs of `model`, which has no adapter yet.

    start: None gives equal ranks and weights without meaning, to count or to restore.
    Raises AdapterError if the images are too few for the rank.
    """
    ranks = {name: _rank(config, name) for name in sorted(config.target_modules)}
    known = start.ranks if isinstance(start, Kept) else None
    probe = start if start is not None and not isinstance(start, Kept) else None
    if init_of(config) is LoraInit.EVA:
        if probe is None:
            return Prepared(_with_ranks(config, ranks, known or ranks), {})
        down = _principal_directions(model, config, ranks, probe)
        return Prepared(_with_ranks(config, ranks, {name: len(a) for name, a in down.items()}), down)
    made = copy.deepcopy(config)
    made.lora_ga_config = made.lora_ga_config or LoraGAConfig()
    made._register_custom_module({nn.Linear: CentredLinear})
    if probe is not None:
        _attach_gradients(model, made, ranks, probe)
    return Prepared(made, {})


def finish_lora(model: nn.Module, prepared: Prepared) -> None:
    """Give the injected layers their initial weights, or hold on to those that they have."""
    for name, module in model.named_modules():
        if isinstance(module, CentredLinear):
            module.hold_start()
        elif isinstance(module, LoraLinear) and name in prepared.down:
            weight, down = module.lora_A[ADAPTER_NAME].weight, prepared.down[name]
            if weight.shape != down.shape:
                raise AdapterError(
                    f"init eva needs A of shape {list(down.shape)} in {name}, but another argument makes it "
                    f"{list(weight.shape)}; remove one of them"
                )
            with torch.no_grad():
                weight.copy_(down)


def _rank(config: LoraConfig, name: str) -> int:
    pattern: dict[str, int] = config.rank_pattern
    base: int = config.r
    return pattern.get(get_pattern_key(list(pattern), name), base)


# --- EVA --------------------------------------------------------------------------------------


def _principal_directions(
    model: nn.Module, config: LoraConfig, ranks: Mapping[str, int], probe: Probe
) -> dict[str, Tensor]:
    """The leading principal directions of each layer's inputs, (rank × in_features); ranks differ."""
    made = copy.deepcopy(config)
    made.eva_config = made.eva_config or EvaConfig()
    _check_rows(model, made, ranks, probe)
    passes = _Passes(probe)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: dict[str, Tensor] = get_eva_state_dict(
                model,
                [torch.tensor(number) for number in range(probe.batches)],
                made,
                forward_fn=passes,
                prepare_model_inputs_fn=None,
                prepare_layer_inputs_fn=_rows,
                show_progress_bar=False,
            )
    except AdapterError:
        raise
    except Exception as error:  # PEFT raises errors of any type
        raise AdapterError(f"init eva: PEFT cannot compute it: {error}") from error
    finally:
        _remove_hooks(model, ranks)
    return {name: found[name].detach().clone() for name in ranks}


class _Passes:
    """Counts the batches, so that directions that never settle end with an error."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._done = 0

    def __call__(self, model: nn.Module, number: Tensor) -> None:
        self._done += 1
        if self._done > MOST_BATCHES:
            raise AdapterError(
                f"init eva: the directions have not settled after {MOST_BATCHES} batches; use a smaller "
                "rank, more training images, or peft.arguments.eva_config with a smaller tau or rho"
            )
        self._probe.forward(model, int(number))


def _rows(layer_input: Any, model_input: Any = None, layer_name: str = "") -> Tensor:
    """A layer's inputs as (rows, in_features)."""
    first: Tensor = layer_input if isinstance(layer_input, Tensor) else layer_input[0]
    return first.reshape(-1, first.shape[-1]).contiguous()


def _check_rows(model: nn.Module, config: LoraConfig, ranks: Mapping[str, int], probe: Probe) -> None:
    """Raise AdapterError if a batch has fewer tokens, or a layer fewer inputs, than directions are needed."""
    seen: dict[str, torch.Size] = {}

    def note(name: str, given: Any) -> None:
        seen[name] = _rows(given).shape

    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, given, __, name=name: note(name, given))
        for name in ranks
    ]
    try:
        probe.forward(model, 0)
    finally:
        for handle in handles:
            handle.remove()
    for name, rank in ranks.items():
        rows, width = seen.get(name, (0, 0))
        needed = round(rank * config.eva_config.rho)
        if needed > min(rows, width):
            few = f"{width} inputs" if rows > width else f"{rows} tokens in a batch of training images"
            more = ", or more images" if needed <= width else ""
            raise AdapterError(
                f"init eva with rank {rank} needs {needed} directions (rank · rho "
                f"{config.eva_config.rho:g}), but {name} has {few}, of {probe.images} training images; "
                f"use a rank of at most {int(min(rows, width) // config.eva_config.rho)}{more}"
            )


def _remove_hooks(model: nn.Module, names: Sequence[str] | Mapping[str, int]) -> None:
    """Remove what PEFT leaves on the layers if it ends with an error."""
    for name in names:
        hooks = model.get_submodule(name)._forward_hooks
        for key in [key for key, hook in hooks.items() if type(hook).__module__ == "peft.tuners.lora.eva"]:
            del hooks[key]


def _with_ranks(config: LoraConfig, base: Mapping[str, int], ranks: Mapping[str, int]) -> LoraConfig:
    """Plain LoRA on the layers that have a rank, with a rank and a scale for each."""
    made = copy.deepcopy(config)
    adjusts = (config.eva_config or EvaConfig()).adjust_scaling_factors
    given: dict[str, float] = config.alpha_pattern
    made.init_lora_weights, made.eva_config = True, None
    made.target_modules = {name for name in base if ranks.get(name)}
    made.rank_pattern, made.alpha_pattern = {}, {}
    for name in sorted(made.target_modules):
        alpha = given.get(get_pattern_key(list(given), name), config.lora_alpha)
        alpha = alpha * ranks[name] / base[name] if adjusts and ranks[name] != base[name] else alpha
        if ranks[name] != made.r:
            made.rank_pattern[re.escape(name)] = ranks[name]
        if alpha != made.lora_alpha:
            made.alpha_pattern[re.escape(name)] = alpha
    return made


# --- LoRA-GA ----------------------------------------------------------------------------------


class CentredLinear(LoraLinear):  # type: ignore[misc]
    """LoRA around its initial values: W x + b + s·(B A − B₀A₀) x, so that it starts as W x + b."""

    if TYPE_CHECKING:  # what LoraLayer sets, which mypy does not see

        def __getattr__(self, name: str) -> Any: ...

    def hold_start(self) -> None:
        """Keep copies of A and B as A₀ and B₀, which never train."""
        self.register_buffer("lora_start_A", self.lora_A[ADAPTER_NAME].weight.detach().clone())
        self.register_buffer("lora_start_B", self.lora_B[ADAPTER_NAME].weight.detach().clone())

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x (…, in_features) -> (…, out_features)."""
        result: Tensor = super().forward(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        inner = self._cast_input_dtype(x, self.lora_start_A.dtype)
        start = linear(linear(inner, self.lora_start_A), self.lora_start_B)
        centred: Tensor = result - (self.scaling[ADAPTER_NAME] * start).to(result.dtype)
        return centred

    def get_delta_weight(self, adapter: str) -> Tensor:
        """ΔW = s·(B A − B₀A₀), (out_features, in_features)."""
        delta: Tensor = super().get_delta_weight(adapter)
        delta -= self.scaling[adapter] * (self.lora_start_B @ self.lora_start_A)
        return delta


def centred_as_lora(config: LoraConfig, layers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Exported:
    """Plain LoRA of twice the rank: [A; A₀] and s·[B, −B₀]."""
    made: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, layer in layers.items():
        down, up = (f"{name}.lora_{side}.{ADAPTER_NAME}.weight" for side in "AB")
        first, second = (tensors[f"{name}.lora_start_{side}"] for side in "AB")
        made[down] = torch.cat([tensors[down], first])
        made[up] = layer.scaling[ADAPTER_NAME] * torch.cat([tensors[up], -second], dim=1)
        ranks[name] = len(made[down])
    return lora_at_scale_one(ranks, config.lora_dropout), made


def _attach_gradients(model: nn.Module, config: LoraConfig, ranks: Mapping[str, int], probe: Probe) -> None:
    """Give each layer the mean gradient of its weight, from which PEFT computes A and B."""

    def all_batches() -> None:
        model.eval()  # no dropout, and no running statistics: only the gradient is wanted
        for number in range(min(probe.batches, GRADIENT_BATCHES)):
            probe.backward(model, number)

    layers = {name: model.get_submodule(name) for name in ranks}
    with _kept_gradients(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preprocess_loraga(model, config, all_batches)
    try:
        for name, layer in layers.items():
            gradient = getattr(layer, "_peft_loraga_grad", None)
            if gradient is not None and not bool(gradient.any()):
                # Its inputs are zero, as in the first self-attention of DETR's decoder: plain LoRA.
                del layer._peft_loraga_grad
            elif gradient is not None:
                _check_gradient(name, gradient, ranks[name], probe)
        if not any(hasattr(layer, "_peft_loraga_grad") for layer in layers.values()):
            raise AdapterError(
                "init lora_ga: the loss has no gradient for any of the adapted layers; choose other targets"
            )
    except AdapterError:
        for layer in layers.values():
            if hasattr(layer, "_peft_loraga_grad"):
                del layer._peft_loraga_grad
        raise


@contextmanager
def _kept_gradients(model: nn.Module) -> Iterator[None]:
    """Begin without gradients, which PEFT would add to, and leave shared weights as they were."""
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    for parameter, _, _ in before:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, flag, gradient in before:
            parameter.requires_grad_(flag)
            parameter.grad = gradient


def _check_gradient(name: str, gradient: Tensor, rank: int, probe: Probe) -> None:
    """PEFT would take fewer columns than the rank from a narrow layer, and arbitrary ones from few images."""
    if not bool(torch.isfinite(gradient).all()):
        raise AdapterError(f"init lora_ga: the gradient for {name} is not finite")
    sizes = torch.linalg.svdvals(gradient.double().cpu())
    independent = int((sizes > 1e-6 * sizes[0]).sum())
    if 2 * rank > independent:
        more = ", or more images" if 2 * rank <= min(gradient.shape) else ""
        raise AdapterError(
            f"init lora_ga with rank {rank} needs {2 * rank} independent directions of the gradient, but it "
            f"has {independent} for {name} on {probe.images} training images; use a rank of at most "
            f"{independent // 2}{more}"
        )
