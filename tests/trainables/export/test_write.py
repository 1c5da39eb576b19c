"""An exported model is the trained one, in a process without any of our packages."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting import (
    FEW,
    SETTINGS,
    Case,
    Exported,
    export_case,
    images_for,
    load_elsewhere,
    outputs,
    trained,
)
from huggingface_hub import constants
from marks import slow
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection

from tests.support.saved_detectors import KINDS, save_detector
from tests.trainables.adapters.families.test_passthrough import SMALL
from trainables.adapters.families.passthrough import offered_methods
from trainables.backbones import EMBEDDED
from trainables.data.loader import eval_batches
from trainables.errors import AdapterError, StorageError
from trainables.export import write
from trainables.export.card_facts import Card
from trainables.export.portable import split_portable
from trainables.export.use import load
from trainables.export.write import ExportKind, export_model
from trainables.inference.trained_model import TrainedModel, load_trained
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import Task, Workload
from trainables.training.checkpoint import save_weights
from trainables.training.engine import Engine

EngineOf = Callable[[Task], Engine]
Elsewhere = tuple[dict[str, Exported], dict[str, torch.Tensor], dict[str, str]]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """All cases, exported in this process and loaded in another one."""
    root = tmp_path_factory.mktemp("exports")
    exported = {}
    for case in FEW:
        held = export_case(case, root / "here" / case.name)
        exported[case.name] = held
    found, errors = load_elsewhere(Path(sys.executable), exported, root / "scratch")
    return exported, found, errors


@pytest.mark.parametrize("case", FEW, ids=[case.name for case in FEW])
def test_loaded_elsewhere_it_gives_the_trained_outputs(elsewhere: Elsewhere, case: Case) -> None:
    exported, found, errors = elsewhere
    held = exported[case.name]
    assert case.name not in errors, errors[case.name]
    torch.testing.assert_close(found[case.name], held.expected, rtol=0, atol=1e-5)
    assert held.result.largest_difference <= 1e-5
    config = TrialConfig.model_validate_json(json.dumps(SETTINGS[case.settings]))
    whole = (
        case.merge or config.mode in TRAINS_BACKBONE or config.adapter == "none"
    ) and "lily" not in case.name
    assert held.result.kind is (ExportKind.MODEL if whole else ExportKind.ADAPTER)
    assert ("adapter_config.json" in held.result.files) is not whole
    for name in ("README.md", "use.py", "config.json", "preprocessor_config.json"):
        assert name in held.result.files
    modes = {(held.result.folder / name).stat().st_mode for name in held.result.files}
    assert len(modes) == 1, "all files may be read by whom the card may"


def test_outputs_of_the_cases_differ_from_the_base_and_from_each_other(elsewhere: Elsewhere) -> None:
    """Otherwise equal outputs in both processes would prove nothing."""
    exported, _, _ = elsewhere
    for task in EMBEDDED:
        own = [name for name in exported if name.startswith(task) and not name.endswith("merged")]
        for first, second in combinations(own, 2):
            one, other = exported[first].expected, exported[second].expected
            assert float((one - other).abs().max()) > 1e-2, (first, second)


def test_a_moved_folder_still_loads(tmp_path: Path) -> None:
    held = export_case(Case(Task.DETECTION, "lora"), tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there" / "moved")
    loaded = outputs(load(tmp_path / "there" / "moved"), held.images)
    torch.testing.assert_close(loaded, held.expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", ["serial_lora", "lokr"])
def test_a_detector_loads_by_hand_as_the_card_says(tmp_path: Path, settings: str) -> None:
    held = export_case(Case(Task.DETECTION, settings), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    code = card.split("Or without `use.py`")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code.replace("path/to/this/folder", str(tmp_path / "out")), names)
    assert isinstance(names["model"], PeftModel)
    torch.testing.assert_close(outputs(names["model"], held.images), held.expected, rtol=0, atol=1e-5)


def test_a_merged_detector_is_a_plain_one(tmp_path: Path) -> None:
    held = export_case(Case(Task.DETECTION, "lora", merge=True), tmp_path / "out")
    plain = AutoModelForObjectDetection.from_pretrained(tmp_path / "out").eval()
    assert not any("lora" in name for name in plain.state_dict())
    assert plain.config.id2label == {0: "cat", 1: "dog", 2: "emu"}
    torch.testing.assert_close(outputs(plain, held.images), held.expected, rtol=0, atol=1e-5)


def test_a_plain_segmenter_is_a_backbone_that_we_take_again(tmp_path: Path) -> None:
    held = export_case(Case(Task.SEGMENTATION, "full"), tmp_path / "out")
    again = trained(Task.SEGMENTATION, {"adapter": "none"}, name=str(tmp_path / "out"))
    assert not again.task.fresh_head
    pristine = again.task.assemble(again.config, share=True)
    torch.testing.assert_close(outputs(pristine, held.images), held.expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", list(EMBEDDED))
def test_serial_lora_leaves_as_lora_with_the_update_wba(task: Task, tmp_path: Path) -> None:
    """ΔW = W·B·A exactly, to 1e-6; without conversion it would load as LoRA, with other outputs."""
    model = trained(task, SETTINGS["serial_lora"])
    parts = split_portable(model)
    adapted = parts.with_adapter(saves_head=True)
    layers = {n: m for n, m in adapted.named_modules() if hasattr(m, "lora_A")}
    assert len(layers) == 3 * len(model.task.layout.blocks)
    for name, layer in layers.items():
        assert type(layer).__module__ == "peft.tuners.lora.layer"
        inside = name.removeprefix("base_model.model.")
        inside = inside if parts.head is None else f"backbone.{inside}"
        serial = model.model.get_submodule(inside)
        delta = layer.get_delta_weight("default")
        torch.testing.assert_close(delta, serial.get_delta_weight("default"), rtol=0, atol=1e-6)
        assert float(delta.abs().max()) > 1e-3
    export_model(model, tmp_path / "out", merge=False, card=Card("serial"))
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert written["peft_type"] == "LORA"
    assert written["lora_alpha"] == written["r"] == model.config.section.rank


def test_adalora_leaves_with_the_ranks_that_are_left(tmp_path: Path) -> None:
    model = trained(Task.DETECTION, SETTINGS["adalora"])
    left = {
        name.removesuffix(".lora_E.default"): int(parameter.count_nonzero())
        for name, parameter in model.parts.adapter.items()
        if ".lora_E." in name
    }
    assert len(set(left.values())) > 3
    assert 0 in left.values()
    export_model(model, tmp_path / "out", merge=False, card=Card("adalora"))
    held = load_file(tmp_path / "out" / "adapter_model.safetensors")
    for name, rank in left.items():
        # A layer without ranks keeps a zero one: LoRA has no rank 0.
        assert len(held[f"base_model.model.{name}.lora_A.weight"]) == max(1, rank)


@pytest.mark.parametrize("adapter", ["adalora", "serial_lora"])
@pytest.mark.parametrize("task", list(EMBEDDED))
def test_what_training_made_comes_out_of_its_checkpoint(
    engine_of: EngineOf, tmp_path: Path, task: Task, adapter: str
) -> None:
    engine = engine_of(task)
    config = {"adapter": adapter, "epochs": 1, "batch_size": 4, "learning_rate": 0.01}
    if adapter == "adalora":
        config["adalora"] = {"init_rank": 6, "target_rank": 2}
    state = engine.start(TrialConfig.model_validate_json(json.dumps(config)))
    while not state.done:
        list(engine.advance([state]))
    save_weights(state, tmp_path / "best.ckpt")
    state.model.eval()
    batch = eval_batches(engine.data.splits[Split.VALIDATION], batch_size=4)[0]
    images = engine.task.scale(batch.images)
    expected = outputs(state.model, images)
    model = load_trained(engine.workload, tmp_path / "best.ckpt", device="cpu")
    result = export_model(model, tmp_path / "out", merge=False, card=Card("x"))
    torch.testing.assert_close(outputs(load(result.folder), images), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("classes", "merge"),
    [
        slow(("dog", "cat"), True, id="known classes, merged"),
        pytest.param(("zebra", "emu", "gnu", "okapi"), False, id="new classes"),
    ],
)
def test_every_kind_of_detector(tmp_path: Path, kind: str, classes: tuple[str, ...], merge: bool) -> None:
    """Decoders that refine boxes have the head under a second name."""
    base = save_detector(tmp_path / "base", kind)
    settings = {"adapter": "lora", "targets": ["value"]}
    model = trained(Task.DETECTION, settings, classes, str(base))
    result = export_model(model, tmp_path / "out", merge=merge, card=Card(kind))
    assert result.largest_difference <= 1e-5
    own = kind in ("lw_detr", "rf_detr")  # PEFT cannot save their heads, so the base has them
    assert result.base == (None if merge else "base" if own else str(base))
    labels = AutoConfig.from_pretrained(tmp_path / "out").id2label
    assert set(classes) <= set(labels.values())


def test_the_processor_has_the_size_that_was_trained_on(tmp_path: Path) -> None:
    base = save_detector(tmp_path / "base", "detr")
    model = trained(Task.DETECTION, {"adapter": "lora"}, ("cat", "dog"), str(base))
    fixed = model.workload.model.model_copy(update={"image_size": (32, 48)})
    again = model.workload.model_copy(update={"model": fixed})
    from trainables.tasks.registry import load_task

    task = load_task(again, model.classes, model.device)
    changed = type(model)(again, model.config, model.classes, task, model.model, model.adapted, model.parts)
    for name, one, size in (
        ("edges", model, {"shortest_edge": 32, "longest_edge": 48}),
        ("fixed", changed, {"height": 32, "width": 48}),
    ):
        export_model(one, tmp_path / name, merge=False, card=Card("x"))
        processor = AutoImageProcessor.from_pretrained(tmp_path / name, backend="pil")
        assert {k: v for k, v in dict(processor.size).items() if v is not None} == size


def test_a_base_from_the_hub_is_named_with_its_exact_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's cache, as offline machines have it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "cache" / "models--me--tiny"
    shutil.copytree(EMBEDDED[Task.SEGMENTATION], cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = trained(Task.SEGMENTATION, {"adapter": "lora"}, name="me/tiny")
    images = images_for(model)
    result = export_model(model, tmp_path / "out", merge=False, card=Card("x"))
    assert result.base == "me/tiny"
    assert not any(name.startswith("base/") for name in result.files)
    held = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (held["base_model_name_or_path"], held["revision"]) == ("me/tiny", commit)
    assert "base_model: me/tiny\n" in (tmp_path / "out" / "README.md").read_text()
    expected = outputs(model.model, images)
    for loaded in (
        load(tmp_path / "out", local_files_only=True),
        load(tmp_path / "out", base=EMBEDDED[Task.SEGMENTATION]),
    ):
        found = outputs(loaded, images)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_card_says_what_it_is_and_how_it_was_made(tmp_path: Path) -> None:
    card = Card(
        title="digits, trial 3",
        metrics={"dice": 0.81234, "iou": 0.7, "dice/cat": 0.5},
        epoch=4.0,
        test={"in domain": {"dice": 0.8}, "noisy": {"dice": 0.4}},
        floors={"validation images": {"dice": 0.25, "iou": 0.125}, "noisy": {"dice": 0.375}},
        collapsed=True,
        counts={"train": 256, "validation": 64},
        file="name: digits\ntask: segmentation\n",
        reproduce="adaptertune train --from digits:3",
        environment={"python": "3.11", "versions": {"torch": "2.13"}, "devices": ["cpu"]},
    )
    model = trained(Task.SEGMENTATION, SETTINGS["serial_lora"])
    export_model(model, tmp_path / "out", merge=False, card=card)
    text = (tmp_path / "out" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: peft\n")
    for said in (
        "# digits, trial 3",
        "| | loss | dice | iou |",  # the objective first
        "| validation images, epoch 4 | – | 0.8123 | 0.7000 |\n| floor of these images | – | 0.2500 | 0.12",
        "| test images, noisy | – | 0.4000 | – |\n| floor of these images | – | 0.3750 | – |",
        "Floor: what the best constant predictor reaches on the same images.",
        "**This model has collapsed**: the 95 % interval of its loss minus the floor",
        "Definitions: dice 2: mean over the foreground classes; ",
        "Images: 256 train, 64 validation.",
        "adaptertune train --from digits:3",
        "name: digits",
        "0: cat, 1: dog, 2: emu",
        "serial_lora",
        "- versions: torch 2.13",
        "converted exactly",
    ):
        assert said in text


def _with_objective(metric: str, **data: Any) -> TrainedModel:
    """A trained segmenter of an experiment with this objective."""
    asked = {
        "task": "segmentation",
        "model": {"name": "embedded"},
        "objective": {"metric": metric},
        "data": {"embedded": {}, **data},
    }
    model = trained(Task.SEGMENTATION, {"adapter": "lora"})
    return replace(model, workload=Workload.model_validate_json(json.dumps(asked)))


def test_the_card_shows_an_objective_in_a_domain_beside_its_floor(tmp_path: Path) -> None:
    noisy = {"noisy": {"corruption": {"kind": "noise", "severity": 3}}}
    model = _with_objective("dice@noisy", domains=noisy)
    card = Card(
        "x",
        metrics={"dice": 0.8, "iou": 0.7, "dice@noisy": 0.4, "iou@noisy": 0.25},
        epoch=4.0,
        floors={"validation images": {"dice": 0.125}, "validation images of noisy": {"dice": 0.375}},
    )
    export_model(model, tmp_path / "out", merge=False, card=card)
    text = (tmp_path / "out" / "README.md").read_text()
    assert (
        "| validation images, epoch 4 | 0.8000 | 0.7000 |\n| floor of these images | 0.1250 | – |\n"
        "| validation images of noisy, epoch 4 | 0.4000 | 0.2500 |\n| floor of these images | 0.3750 | – |\n"
    ) in text


def test_the_card_shows_the_floor_of_a_class_whose_name_holds_an_at_sign(tmp_path: Path) -> None:
    model = _with_objective("dice/a@b")
    card = Card(
        "x",
        metrics={"dice": 0.8, "iou": 0.7, "dice/a@b": 0.4},
        epoch=4.0,
        floors={"validation images": {"dice": 0.125, "dice/a@b": 0.0625}},
    )
    export_model(model, tmp_path / "out", merge=False, card=card)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| floor of these images | 0.0625 |" in text


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    model = trained(Task.SEGMENTATION, {"adapter": "lora"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(StorageError, match="is not empty"):
        export_model(model, tmp_path / "out", merge=False, card=Card("x"))
    (tmp_path / "out" / "mine").unlink()
    export_model(model, tmp_path / "out", merge=False, card=Card("x"))
    assert (tmp_path / "out" / "use.py").is_file()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(Task.SEGMENTATION, {"adapter": "lora"})

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(write, "save_file", full)
    with pytest.raises(StorageError, match="disk is full"):
        export_model(model, tmp_path / "out", merge=False, card=Card("x"))
    assert not list(tmp_path.iterdir())


def test_another_model_than_the_trained_one_is_never_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT loads an unconverted serial adapter as LoRA: the comparison detects it."""
    model = trained(Task.SEGMENTATION, SETTINGS["serial_lora"])
    kept = split_portable(model)
    wrong = {name: t for name, t in model.model.state_dict().items() if ".lora_" in name}
    wrong = {name.removeprefix("backbone."): t for name, t in wrong.items()}
    monkeypatch.setattr(write, "split_portable", lambda _: type(kept)(**{**vars(kept), "tensors": wrong}))
    with pytest.raises(AdapterError, match="nothing was written"):
        export_model(model, tmp_path / "out", merge=False, card=Card("x"))
    assert not list(tmp_path.iterdir())


def test_a_method_that_peft_cannot_merge_is_refused_where_that_was_asked_for(tmp_path: Path) -> None:
    model = trained(Task.SEGMENTATION, {"adapter": "peft", "peft": {"method": "LILY"}})
    with pytest.raises(AdapterError, match="cannot merge LILY"):
        export_model(model, tmp_path / "out", merge=True, card=Card("x"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["frozen", "unfrozen"])
@pytest.mark.parametrize("method", offered_methods())
def test_every_peft_method_that_is_offered(tmp_path: Path, method: str, mode: str) -> None:
    """Methods that derive directions from weights must use the pretrained weights."""
    peft = {"method": method, "arguments": SMALL.get(method, {})}
    model = trained(Task.SEGMENTATION, {"adapter": "peft", "peft": peft, "freezing": mode})
    images = images_for(model)
    expected = outputs(model.model, images)
    result = export_model(model, tmp_path / "out", merge=False, card=Card(method))
    found = outputs(load(result.folder), images)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
