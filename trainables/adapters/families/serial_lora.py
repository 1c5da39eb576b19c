"""Serial LoRA: a low-rank change of a layer's input, W(x + B(A x)) + b.

PEFT has no such method; the layer below follows PEFT's conventions and is injected through LoRA's hook
for custom modules. ΔW = W·B·A, so it can be exported as a plain LoRA adapter. If it were saved without
conversion, PEFT would load it as ordinary LoRA, with wrong outputs and no error: never do that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from trainables.adapters.families.lora import lora_at_scale_one
from trainables.adapters.family import ADAPTER_NAME, AdapterFamily, Exported, Kept, over_targets
from trainables.adapters.layout import Layout
from trainables.specs.adapters import SerialLoraSpec
from trainables.specs.trial import TrialConfig


class SerialLinear(nn.Module, LoraLayer):  # type: ignore[misc]
    """A linear layer with a low-rank addition to its input.

    lora_A: in_features -> rank, lora_B: rank -> in_features (not out_features, as in LoRA).
    """

    if TYPE_CHECKING:  # what LoraLayer sets, which mypy does not see

        def __getattr__(self, name: str) -> Any: ...

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: LoraConfig, r: int, **_: Any
    ) -> None:
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, r, config=config)

    def update_layer(self, adapter_name: str, r: int, config: LoraConfig, **_: Any) -> None:
        """Initialise A as LoRA does, and B to zero."""
        dropout = config.lora_dropout
        self.r[adapter_name] = r
        self.lora_alpha[adapter_name] = r
        self.scaling[adapter_name] = 1.0
        self.lora_dropout[adapter_name] = nn.Dropout(dropout) if dropout else nn.Identity()
        down, up = nn.Linear(self.in_features, r, bias=False), nn.Linear(r, self.in_features, bias=False)
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
        self.lora_A[adapter_name], self.lora_B[adapter_name] = down, up
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x (…, in_features) -> (…, out_features)."""
        if not self.disable_adapters:
            for name in self.active_adapters:
                if name in self.lora_A:
                    down, up = self.lora_A[name], self.lora_B[name]
                    inner = self.lora_dropout[name](self._cast_input_dtype(x, down.weight.dtype))
                    x = x + up(down(inner)).to(x.dtype)
        result: Tensor = self.base_layer(x, *args, **kwargs)
        return result

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """ΔW = W·B·A, (out_features, in_features)."""
        weight: Tensor = self.get_base_layer().weight
        delta: Tensor = weight @ self.lora_B[adapter_name].weight @ self.lora_A[adapter_name].weight
        return delta


def serial_lora(spec: SerialLoraSpec, targets: list[str]) -> LoraConfig:
    """A LoRA configuration that uses `SerialLinear` layers."""
    config = LoraConfig(r=spec.rank, lora_alpha=spec.rank, lora_dropout=spec.dropout, target_modules=targets)
    config._register_custom_module({nn.Linear: SerialLinear})
    return config


def share_pairs(model: nn.Module, config: TrialConfig, layout: Layout, kept: Kept | None) -> None:
    """If `shared`, give the same A and B to all layers of a block with the same input width."""
    if not config.section.shared:
        return
    pairs: dict[tuple[int | None, int], SerialLinear] = {}
    for name, module in model.named_modules():
        if isinstance(module, SerialLinear):
            first = pairs.setdefault((layout.block_of(name), module.in_features), module)
            module.lora_A[ADAPTER_NAME] = first.lora_A[ADAPTER_NAME]
            module.lora_B[ADAPTER_NAME] = first.lora_B[ADAPTER_NAME]


def _as_lora(spec: SerialLoraSpec, layers: Mapping[str, Any], trained: dict[str, Tensor]) -> Exported:
    """LoRA with A, and W·B instead of B."""

    tensors = dict(trained)
    for name, layer in layers.items():
        key = f"{name}.lora_B.{ADAPTER_NAME}.weight"
        weight = layer.get_base_layer().weight.detach().cpu().double()
        tensors[key] = (weight @ trained[key].double()).float()
    return lora_at_scale_one(dict.fromkeys(layers, spec.rank), spec.dropout), tensors


FAMILY = AdapterFamily(peft_config=over_targets(serial_lora), after_injection=share_pairs, exported=_as_lora)
