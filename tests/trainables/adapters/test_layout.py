from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForObjectDetection,
    BeitConfig,
    BeitModel,
    DeiTConfig,
    DeiTModel,
    DetrConfig,
    DetrForObjectDetection,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
    YolosConfig,
    YolosForObjectDetection,
)

from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import Layout, layout_of
from trainables.errors import AdapterError
from trainables.specs.adapters import Role
from trainables.specs.trial import TrialConfig

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}


def detr() -> nn.Module:
    backbone = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    return DetrForObjectDetection(
        DetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config=backbone,
            d_model=32,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            num_queries=4,
        )
    )


MODELS = {
    "vit": lambda: ViTModel(ViTConfig(**SIZES)),
    "vit classifier": lambda: ViTForImageClassification(ViTConfig(**SIZES)),
    "yolos": lambda: YolosForObjectDetection(YolosConfig(**SIZES)),
    "deit": lambda: DeiTModel(DeiTConfig(**SIZES)),
    "beit": lambda: BeitModel(BeitConfig(**SIZES)),
    "dinov2": lambda: Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2)
    ),
    "dinov3": lambda: DINOv3ViTModel(DINOv3ViTConfig(**SIZES)),
    "siglip": lambda: SiglipVisionModel(SiglipVisionConfig(**SIZES, vision_use_head=False)),
}
EVERY = (Role.QUERY, Role.KEY, Role.VALUE, Role.OUTPUT, Role.MLP_IN, Role.MLP_OUT)


def make(name: str) -> nn.Module:
    with torch.device("meta"):
        return MODELS[name]()


@pytest.mark.parametrize("name", MODELS)
def test_every_role_is_found_once_a_block(name: str) -> None:
    model = make(name)
    layout = layout_of(model)
    assert len(layout.blocks) == 3
    assert (layout.hidden, layout.inner) == (32, 64)
    for role in EVERY:
        names = layout.linears[role]
        assert [layout.block_of(n) for n in names] == [0, 1, 2], role
        shapes = {tuple(model.get_submodule(n).weight.shape) for n in names}
        assert shapes == {{Role.MLP_IN: (64, 32), Role.MLP_OUT: (32, 64)}.get(role, (32, 32))}
    assert len(layout.norms) == 6
    assert len({n for names in layout.linears.values() for n in names}) == 18


def test_names_of_yolos_and_vit() -> None:
    yolos, vit = layout_of(make("yolos")), layout_of(make("vit"))
    assert yolos.blocks[1] == "vit.encoder.layer.1"
    assert yolos.linears[Role.QUERY][0] == "vit.encoder.layer.0.attention.attention.query"
    assert yolos.linears[Role.OUTPUT][0] == "vit.encoder.layer.0.attention.output.dense"
    assert vit.linears[Role.QUERY][0] == "layers.0.attention.q_proj"


def test_a_detr_has_encoder_and_decoder_blocks() -> None:
    with torch.device("meta"):
        layout = layout_of(detr())
    assert [b.rpartition(".layers.")[0] for b in layout.blocks] == ["model.encoder"] * 2 + ["model.decoder"]
    assert [layout.block_of(n) for n in layout.targets([Role.QUERY])] == [0, 1, 2, 2]
    assert layout.hidden == 32


@pytest.mark.parametrize("kind", ["conditional_detr", "dab-detr"])
def test_decoders_that_split_content_and_position_are_reached(kind: str) -> None:
    wide = "hidden_size" if kind == "dab-detr" else "d_model"
    backbone = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    sizes = {wide: 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 4}
    config = AutoConfig.for_model(
        kind, backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False,
        backbone=None, **sizes, **heads,
    )  # fmt: skip
    with torch.device("meta"):
        layout = layout_of(AutoModelForObjectDetection.from_config(config))
    for role in (Role.QUERY, Role.KEY, Role.VALUE, Role.OUTPUT):
        # The encoder's self-attention, then self- and cross-attention of two decoder blocks.
        assert [layout.block_of(n) for n in layout.targets([role])] == [0, 1, 1, 2, 2], role
    assert [layout.block_of(n) for n in layout.targets([Role.MLP_OUT])] == [0, 1, 2]
    everything = [name for names in layout.linears.values() for name in names]
    assert len(everything) == len(set(everything))
    assert not [name for name in everything if "pos_" in name]


def test_a_layer_whose_weights_torchs_attention_reads_is_left_out_beside_one_that_runs() -> None:
    """Mask2Former's queries attend to themselves with separate layers, and to the image with torch's."""
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(embed_dim=8, num_heads=[1, 1, 1, 1]), decoder_layers=3
    )
    with torch.device("meta"):
        layout = layout_of(Mask2FormerForUniversalSegmentation(config))
    decoder = [name for name in layout.linears[Role.OUTPUT] if "transformer_module" in name]
    assert [name.rpartition("layers.")[2] for name in decoder] == [
        "0.self_attn.out_proj",
        "1.self_attn.out_proj",
    ]


def test_a_hierarchical_model_has_the_inner_blocks() -> None:
    with torch.device("meta"):
        layout = layout_of(SwinModel(SwinConfig(embed_dim=32, depths=[1, 2], num_heads=[2, 2])))
    assert len(layout.blocks) == 3
    assert len(layout.targets(EVERY)) == 18


@pytest.mark.parametrize("adapter", ["lora", "localized_lora", "serial_lora", "adalora", "loha", "lokr"])
@pytest.mark.parametrize("name", ["vit", "yolos"])
def test_an_adapted_model_has_the_layout_it_had(name: str, adapter: str) -> None:
    model = MODELS[name]()
    before = layout_of(model)
    inject_adapter(
        model, TrialConfig.model_validate_json(f'{{"adapter": "{adapter}"}}'), before, total_steps=10
    )
    assert layout_of(model) == before


def test_targets_by_role_and_block() -> None:
    layout = layout_of(make("vit"))
    assert layout.targets([Role.VALUE, Role.QUERY], (1, 2)) == (
        "layers.1.attention.v_proj",
        "layers.1.attention.q_proj",
        "layers.2.attention.v_proj",
        "layers.2.attention.q_proj",
    )
    assert layout.targets([Role.QUERY], (-2, -1)) == layout.targets([Role.QUERY], (1, 2))
    assert layout.targets([Role.QUERY], (0, -2)) == layout.targets([Role.QUERY], (0, 1))
    assert layout.norms_in((-1, 2)) == layout.norms_in((2, 2))
    assert layout.norms_in((2, 2)) == ("layers.2.layernorm_before", "layers.2.layernorm_after")


def test_under_a_prefix() -> None:
    layout = layout_of(make("vit")).under("backbone")
    assert layout.blocks[0] == "backbone.layers.0"
    assert layout.targets([Role.KEY], (0, 0)) == ("backbone.layers.0.attention.k_proj",)
    assert layout.block_of("backbone.layers.2.mlp.fc1.weight") == 2
    assert layout.block_of("backbone.layers.20.mlp.fc1.weight") is None
    assert layout.under("") == layout


def test_faults_name_what_there_is() -> None:
    layout = Layout(("b.0", "b.1"), {Role.VALUE: ("b.0.attn.v", "b.1.attn.v")}, (), 8, 0)
    with pytest.raises(AdapterError, match="no linear layer with the role query or mlp_in; use value"):
        layout.targets([Role.QUERY, Role.MLP_IN])
    with pytest.raises(
        AdapterError, match=r"blocks \[0, 2\]: the model has 2 blocks; use numbers from 0 to 1"
    ):
        layout.targets([Role.VALUE], (0, 2))
    with pytest.raises(AdapterError, match=r"blocks \[-1, 0\]: .* runs from block 1 to block 0"):
        layout.targets([Role.VALUE], (-1, 0))
    with pytest.raises(AdapterError, match="Sequential has no transformer blocks"):
        layout_of(nn.Sequential(nn.Linear(2, 2)))
