"""Settings by pattern: an exported adapter has them for the same layers, under the names in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import images_for, outputs, trained
from peft import C3AConfig, LoraConfig, OSFConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoConfig, AutoModel

from trainables.export.card_facts import Card
from trainables.export.patterns import _value, exact_patterns
from trainables.export.use import load
from trainables.export.write import export_model
from trainables.specs.workload import Task

FIRST, SECOND = "backbone.layers.0.attention.q_proj", "backbone.layers.1.attention.v_proj"
KEYS = {
    "full name": {FIRST: 2, SECOND: 3},
    "^": {r"^backbone\.layers\.0\.attention\.q_proj": 2, "^backbone.layers.[12].*v_proj": 3},
    "end of the name": {"q_proj": 2, "0.attention.v_proj": 3},
    "alternatives": {r"(backbone|model)\.layers\.(0|2)\.attention\.(q|v)_proj": 2, ".*": 3},
    "first match counts": {FIRST: 2, ".*q_proj": 3},
}


def of_layers(model: nn.Module, attribute: str) -> dict[str, Any]:
    """The numbers that adapted layers have, by the end of their names."""
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            found[name[name.index("layers.") :]] = getattr(layer, attribute)["default"]
    return found


def exported_both_ways(arguments: dict[str, Any], folder: Path, task: Task = Task.SEGMENTATION) -> Any:
    """The trained model; its export, merged and not, gives its outputs."""
    model = trained(task, {"adapter": "peft", "peft": arguments})
    images = images_for(model)
    expected = outputs(model.model, images)
    for merge in (False, True):
        result = export_model(model, folder / str(merge), merge=merge, card=Card("patterns"))
        found = outputs(load(result.folder), images)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    return model


def by_hand(folder: Path) -> PeftModel:
    """The backbone as the documentation of PEFT loads it."""
    base = AutoModel.from_pretrained(
        folder / "base", config=AutoConfig.from_pretrained(folder), add_pooling_layer=False
    )
    return PeftModel.from_pretrained(base, str(folder)).eval()


@pytest.mark.parametrize("method", ["LORA", "LOHA", "LOKR"])
@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_ranks_and_alphas_by_pattern(tmp_path: Path, method: str, keys: dict[str, int]) -> None:
    arguments = {"r": 5, "rank_pattern": keys, "alpha_pattern": {k: 7 * v for k, v in keys.items()}}
    model = exported_both_ways({"method": method, "arguments": arguments}, tmp_path)
    ranks = of_layers(model.model, "r")
    assert {2, 3} & set(ranks.values()), "a pattern that matches nothing would prove nothing"
    loaded = by_hand(tmp_path / "False")
    assert of_layers(loaded, "r") == ranks
    assert of_layers(loaded, "scaling") == of_layers(model.model, "scaling")
    written = json.loads((tmp_path / "False" / "adapter_config.json").read_text())
    assert not any("backbone" in key for key in written["rank_pattern"])


@pytest.mark.parametrize(
    ("method", "arguments", "attribute"),
    [
        ("DELORA", {"r": 5, "rank_pattern": {f"^{FIRST}": 2}, "lambda_pattern": {SECOND: 3}}, "r"),
        ("WAVEFT", {"n_frequency": 50, "n_frequency_pattern": {f"^{FIRST}": 20}}, "waveft_n_frequency"),
        ("FOURIERFT", {"n_frequency": 50, "n_frequency_pattern": {FIRST[9:]: 20}}, "fourierft_n_frequency"),
        ("C3A", {"block_size": 8, "block_size_pattern": {r"layers\.[0-9]+.*q_proj": 16}}, "block_size"),
        ("OSF", {"effective_rank": 5, "rank_pattern": {f"^{FIRST}$": 2, r"\.v_proj": 3}}, "effective_rank"),
    ],
)
def test_other_methods_with_patterns(
    tmp_path: Path, method: str, arguments: dict[str, Any], attribute: str
) -> None:
    model = exported_both_ways({"method": method, "arguments": arguments}, tmp_path)
    held = of_layers(model.model, attribute)
    assert len(set(held.values())) > 1
    assert of_layers(by_hand(tmp_path / "False"), attribute) == held


def test_block_diagonal_lora_by_parts_of_names(tmp_path: Path) -> None:
    halves = {
        "target_modules_bd_a": [FIRST, "layers.1.attention.q"],
        "target_modules_bd_b": ["backbone.layers.2"],
        "nblocks": 2,
        "match_strict": False,
    }
    exported_both_ways({"method": "LORA", "arguments": {"r": 4, "use_bdlora": halves}}, tmp_path)


def test_a_detectors_patterns_hold_too(tmp_path: Path) -> None:
    layer = "vit.encoder.layer.0.attention.attention.query"
    arguments = {"r": 5, "rank_pattern": {layer: 2, r"^vit\.encoder\.layer\.[12].*value": 3}}
    model = exported_both_ways({"method": "LORA", "arguments": arguments}, tmp_path, Task.DETECTION)
    ranks = [m.r["default"] for m in model.model.modules() if isinstance(m, BaseTunerLayer)]
    assert sorted(set(ranks)) == [2, 3, 5]


def test_names_that_end_alike_keep_apart() -> None:
    """A pattern of PEFT matches the end of a name, so exact ones need its beginning too."""
    layers = ["model.encoder.layers.1.q", "model.encoder.layers.11.q", "model.decoder.encoder.layers.1.q"]
    for kind, asked in (
        ("LORA", LoraConfig(rank_pattern={r"model\.encoder\.layers\.1\.q": 2, "1.q": 3})),
        ("C3A", C3AConfig(block_size_pattern={r"model\.encoder\.layers\.1\.q": 2, "decoder.*": 3})),
        ("OSF", OSFConfig(rank_pattern={r"^model\.encoder\.layers\.1\.q": 2, r"decoder.*": 3})),
    ):
        field = "block_size_pattern" if kind == "C3A" else "rank_pattern"
        before = [_value(asked.peft_type, getattr(asked, field), name) for name in layers]
        exact_patterns(asked, layers, "model.")
        after = getattr(asked, field)
        names = [name.removeprefix("model.") for name in layers]
        assert [_value(asked.peft_type, after, name) for name in names] == before
        for name, value in zip(names, before, strict=True):
            hits = [v for k, v in after.items() if _value(asked.peft_type, {k: v}, name) is not None]
            assert hits == ([] if value is None else [value])
