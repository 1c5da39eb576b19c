"""Trials that continue from kept features: the same numbers to the bit, without computing them again."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saved_models import save_vit, save_yolos
from small_disk import small_disk

from tests.trainables.conftest import report_values, run
from tests.trainables.features.conftest import assert_equal, engine, outcome, trained, trial
from trainables.backbones import EMBEDDED
from trainables.data.loader import Batch, eval_batches, train_batches
from trainables.features.feature_file import FeatureFile
from trainables.features.trial_features import StateSource
from trainables.specs.data import Split
from trainables.specs.workload import Task
from trainables.training.checkpoint import read_state, restore_state, save_state
from trainables.training.engine import Engine

HEAD_ONLY = {"adapter": "none"}
LAST_BLOCK = {"adapter": "lora", "blocks": [-1, -1], "lora": {"rank": 2, "dropout": 0.2}}
FLIPPED = {"horizontal_flip": 0.5, "vertical_flip": 0.5, "crop": 0.7}
TRIALS: dict[str, dict[str, Any]] = {
    "head_only": HEAD_ONLY,
    "last_block": LAST_BLOCK,
    "bf16": {**LAST_BLOCK, "precision": "bf16"},
    "views": {**HEAD_ONLY, "epochs": 5, "augment": {**FLIPPED, "views": 2}},
    "random": {**LAST_BLOCK, "augment": FLIPPED},
    "unfreeze_at": {**LAST_BLOCK, "freezing": "unfreeze_at", "unfreeze_epoch": 1},
    "frozen_blocks": {"adapter": "none", "freezing": "full", "frozen_blocks": 2},
    "accumulate": {**HEAD_ONLY, "accumulate": 2, "reports_per_epoch": 2},
    "part": {**HEAD_ONLY, "train_fraction": 0.6},
}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images in each batch of a trial whose states were computed."""
    images: list[int] = []
    real = StateSource._computed

    def states(source: StateSource, batch: Batch) -> Any:
        images.append(len(batch.indices))
        return real(source, batch)

    monkeypatch.setattr(StateSource, "_computed", states)
    return images


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "features").glob("*.features"))


CASES = [(Task.SEGMENTATION, name) for name in TRIALS]
CASES += [(Task.DETECTION, name) for name in ("head_only", "last_block", "views", "frozen_blocks")]


@pytest.mark.parametrize(("task", "name"), CASES)
def test_numbers_do_not_depend_on_the_cache(task: Task, name: str, cache: Path) -> None:
    plain = outcome(engine(task, gb=0), **TRIALS[name])
    assert kept(cache) == []
    assert_equal(outcome(engine(task), **TRIALS[name]), plain)
    assert kept(cache) != []
    assert_equal(outcome(engine(task), **TRIALS[name]), plain)


def test_states_are_computed_once_for_all_trials_and_processes(cache: Path, computed: list[int]) -> None:
    made = engine()
    trained(made, **HEAD_ONLY)
    assert sorted(computed) == sorted([4, 4, 4, 1, 5]), "in the first epoch and evaluation"
    trained(made, **HEAD_ONLY, seed=3, learning_rate=0.5)
    assert len(computed) == 5, "not for another seed"
    trained(made, **LAST_BLOCK)
    assert len(computed) == 10, "other blocks are others' states"
    trained(made, **LAST_BLOCK)
    trained(made, **HEAD_ONLY, train_fraction=0.5)
    assert len(computed) == 10
    other = engine()
    state = other.start(trial(**HEAD_ONLY))
    for epoch in range(2):
        served = state.features[0].at(epoch).training(other.data.splits[Split.TRAIN])
        batches = train_batches(served, epoch=epoch, seed=5, batch_size=4, augment=trial(**HEAD_ONLY).augment)
        assert all(batch.images.is_meta and batch.hidden is not None for batch in batches)
    assert len(computed) == 10, "another worker reads what the first has written"


def test_images_changed_anew_in_each_epoch_are_not_kept_but_evaluations_are(cache: Path) -> None:
    trained(engine(), **TRIALS["random"])
    assert len(kept(cache)) == 1
    trained(engine(), **TRIALS["views"])
    assert len(kept(cache)) == 4, "its validation images after all blocks, and two versions of the others"


def test_two_views_are_computed_twice(computed: list[int]) -> None:
    made = engine()
    trained(made, **{**TRIALS["views"], "epochs": 2})
    assert len(computed) == 4 + 4 + 1
    trained(made, **{**TRIALS["views"], "epochs": 7})
    assert len(computed) == 9
    trained(made, **{**TRIALS["views"], "seed": 1})
    assert len(computed) == 9 + 8


def test_a_resumed_trial_is_the_uninterrupted_one_with_and_without_its_features(
    tmp_path: Path, cache: Path
) -> None:
    asked = trial(**LAST_BLOCK, reports_per_epoch=2)
    whole_engine = engine()
    whole = whole_engine.start(asked)
    curve = report_values(run(whole_engine, whole))
    for lose in (False, True):
        first = engine()
        state = first.start(asked)
        begun = [report for _ in range(2) for _, report in first.advance([state])]
        list(first.advance([state], steps=1))
        save_state(state, tmp_path / "last", None)
        del state, first
        if lose:
            for path in kept(cache):
                path.unlink()
        second = engine()
        saved = read_state(tmp_path / "last")
        state = second.start(asked, kept=saved.weights.kept)
        restore_state(state, saved)
        rest = run(second, state)
        assert report_values([*begun, *rest]) == curve
        for (name, one), (_, other) in zip(
            state.model.named_parameters(), whole.model.named_parameters(), strict=True
        ):
            assert torch.equal(one, other), name


def test_damaged_rows_are_computed_again(cache: Path) -> None:
    plain = outcome(engine(gb=0), **HEAD_ONLY)
    outcome(engine(), **HEAD_ONLY)
    for path in kept(cache):
        content = np.fromfile(path, np.uint8)
        content[len(content) // 2 :] ^= 1
        content.tofile(path)
    assert_equal(outcome(engine(), **HEAD_ONLY), plain)


def test_a_full_disk_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    plain = outcome(engine(gb=0), **HEAD_ONLY)
    with small_disk(tmp_path / "disk", size_kb=4000) as disk:
        monkeypatch.setenv("ADAPTERTUNE_CACHE", str(disk.path))
        made = engine()
        state = made.start(trial(**HEAD_ONLY))
        list(made.advance([state], steps=1))
        disk.fill()
        reports = run(made, state)
        assert report_values(reports) == plain[0]
        files = [FeatureFile(path, _shape(path)) for path in (disk.path / "features").glob("*.features")]
        assert sum(file.filled() for file in files) < 13 + 5
    said = [record.message for record in caplog.records if record.name.startswith("trainables.features")]
    assert any("No space left on device" in message for message in said)
    assert len(said) == len(set(said)), "each once"


def _shape(path: Path) -> Any:
    from trainables.features.feature_file import HEADER, JSON_AT, FileShape

    header = path.read_bytes()[JSON_AT:HEADER].rstrip(b"\0")
    return FileShape(**json.loads(header))


def test_without_room_trials_go_on_and_say_so_once(cache: Path, caplog: Any) -> None:
    plain = outcome(engine(gb=0), **HEAD_ONLY)
    with caplog.at_level(logging.WARNING):
        made = engine(gb=0.0001)
        assert_equal(outcome(made, **HEAD_ONLY), plain)
        outcome(made, **HEAD_ONLY)
    assert kept(cache) == []
    said = [record.message for record in caplog.records if "features" in record.message]
    assert len(said) == 2, "for training and for validation images"
    assert all("data.cache_gb allows 0.0001" in message for message in said)


@pytest.mark.parametrize(("frozen", "files"), [(1, 1), (2, 2)])
def test_dropout_in_the_frozen_blocks_is_drawn_in_training_by_the_first_definition_only(
    tmp_path: Path, cache: Path, frozen: int, files: int
) -> None:
    model = {"name": str(save_vit(tmp_path / "m", hidden_dropout_prob=0.2))}
    plain = outcome(engine(gb=0, model=model, frozen=frozen), **HEAD_ONLY)
    assert_equal(outcome(engine(model=model, frozen=frozen), **HEAD_ONLY), plain)
    assert len(kept(cache)) == files, "in evaluation nothing is drawn"


def test_images_of_several_sizes_are_not_kept(tmp_path: Path, cache: Path) -> None:
    """Padding would make an image's states depend on the images beside it."""
    from data_makers import box, coco_folder

    sizes = ((40, 60), (40, 20))
    part = coco_folder(tmp_path, 12, sizes=sizes, annotations=[box(i, [4, 5, 12, 10]) for i in range(12)])
    model = save_yolos(tmp_path / "m", size={"shortest_edge": 32, "longest_edge": 48})
    made = engine_of_coco(part, model)
    assert not made.data.splits[Split.TRAIN].uniform
    _, reports = trained(made, **HEAD_ONLY)
    assert len(reports) == 3
    assert kept(cache) == []


def engine_of_coco(part: Any, model: Path) -> Engine:
    from trainables.preparation import prepare_workload
    from trainables.specs.workload import Workload

    asked = {
        "task": "detection",
        "model": {"name": str(model), "new_head": True},
        "objective": {"metric": "loss"},
        "data": {"coco": {"train": part}},
    }
    workload = Workload.model_validate_json(json.dumps(asked))
    return Engine(workload, prepare_workload(workload), device="cpu")


def test_domains_of_an_objective_under_shift_have_features_of_their_own(cache: Path) -> None:
    asked: dict[str, Any] = {"domains": {"blurred": {"corruption": {"kind": "blur"}}}}

    def watched(gb: float) -> Engine:
        made = engine(gb=gb, **asked)
        objective = made.workload.objective.model_copy(update={"metric": "dice@blurred"})
        return Engine(made.workload.model_copy(update={"objective": objective}), made.data.path, device="cpu")

    plain = outcome(watched(0), **HEAD_ONLY)
    assert_equal(outcome(watched(1), **HEAD_ONLY), plain)
    assert len(kept(cache)) == 3
    assert_equal(outcome(watched(1), **HEAD_ONLY), plain)
    assert plain[0][-1][3]["dice@blurred"] != plain[0][-1][3]["dice"]


def test_a_model_that_cannot_be_divided_trains_as_before(tmp_path: Path, cache: Path) -> None:
    from tests.support.saved_detectors import save_detector

    model = {"name": str(save_detector(tmp_path / "m", "detr")), "image_size": [64, 64], "new_head": True}
    plain = outcome(engine(Task.DETECTION, gb=0, model=model), **HEAD_ONLY)
    assert_equal(outcome(engine(Task.DETECTION, model=model), **HEAD_ONLY), plain)
    assert kept(cache) == []


def test_adapters_in_all_blocks_cost_nothing(cache: Path, computed: list[int]) -> None:
    trained(engine(), adapter="lora")
    assert computed == []
    assert kept(cache) == []


# --- routines whose rows depend on the batch ---------------------------------------------------


def _depending(made: Engine, change: Any) -> None:
    """Let every model's first block add what `change` makes of its input, as other routines might."""
    real = type(made.task).assemble

    def assemble(task: Any, config: Any, *, share: bool) -> Any:
        model = real(task, config, share=share)
        block = model.get_submodule(task.layout_in(model).blocks[0])
        block.register_forward_hook(lambda _module, _args, output: output + change(output))
        return model

    object.__setattr__(made.task, "assemble", assemble.__get__(made.task))


def test_where_rows_depend_on_the_size_of_a_batch_one_size_is_computed(cache: Path) -> None:
    """13 images in batches of 4 and 5 in batches of 32: the last batch is filled up to 4."""

    def made(gb: float = 1.0) -> Engine:
        one = engine(gb=gb)
        _depending(one, lambda x: torch.full_like(x, 1e-4 * len(x)))
        return one

    filling = outcome(made(), **HEAD_ONLY)
    assert len(kept(cache)) == 2
    assert_equal(outcome(made(), **HEAD_ONLY), filling)
    assert_equal(outcome(made(gb=0.0001), **HEAD_ONLY), filling)
    other = outcome(made(), **HEAD_ONLY | {"batch_size": 8})
    assert len(kept(cache)) == 3, "another size has other states"
    assert other[0][-1][3]["loss"] == pytest.approx(
        outcome(made(gb=0), **HEAD_ONLY | {"batch_size": 8})[0][-1][3]["loss"], rel=1e-2
    )


def test_where_rows_depend_on_their_place_nothing_is_kept(cache: Path) -> None:
    def made(gb: float = 1.0) -> Engine:
        one = engine(gb=gb)
        _depending(one, lambda x: 1e-4 * torch.arange(len(x)).view(-1, 1, 1).expand_as(x))
        return one

    assert_equal(outcome(made(), **HEAD_ONLY), outcome(made(gb=0), **HEAD_ONLY))
    assert kept(cache) == []


# --- for packs --------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(EMBEDDED))
@pytest.mark.parametrize("settings", [HEAD_ONLY, LAST_BLOCK, {"adapter": "lora"}])
def test_models_with_the_same_frozen_blocks_continue_from_one_batch(
    task: Task, settings: dict[str, Any]
) -> None:
    """The states of a batch, also of images that were changed at random, and with the cache off."""
    made = engine(task, gb=0)
    states = [made.start(trial(**settings, seed=seed)) for seed in (0, 1)]
    batch = train_batches(
        made.data.splits[Split.TRAIN],
        epoch=1,
        seed=0,
        batch_size=4,
        augment=trial(adapter="none", augment=FLIPPED).augment,
    )[0]
    hidden = states[0].features[0].at(1).states(batch)
    for state in states:
        stage = state.features[0].at(1)
        assert stage.exact is not None
        with torch.no_grad():
            plain = made.task.loss(state.model, batch, state.config)
            with stage.exact.prefix.resumed(state.model, hidden):
                assert torch.equal(made.task.loss(state.model, batch, state.config), plain)
            bare = replace(batch, images=batch.images.to("meta"), hidden=hidden)
            with stage.exact.prefix.resumed(state.model):
                assert torch.equal(made.task.loss(state.model, bare, state.config), plain)


def test_evaluations_in_smaller_batches_give_the_same_metrics(cache: Path) -> None:
    made = engine()
    state, _ = trained(made, **HEAD_ONLY)
    stage = state.features[0].at(3)
    split = made.data.splits[Split.VALIDATION]
    served = stage.evaluation(split, 32)
    with stage.resumed():
        small = eval_batches(served, batch_size=2)
        assert all(batch.hidden is not None for batch in small)
        from_states = made.evaluate(state.model, state.config, served, batch_size=2)
    plain = made.evaluate(state.model, state.config, split, batch_size=2)
    assert from_states == pytest.approx(plain, rel=1e-6, abs=1e-6)
