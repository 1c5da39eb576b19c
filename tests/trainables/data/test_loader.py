from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_makers import box, coco_folder, mask_folder, prepared

from trainables.backbones import EMBEDDED
from trainables.data.files.mask_pixels import IGNORE
from trainables.data.loader import Batch, Batches, eval_batches, train_batches
from trainables.data.prepared import PreparedSplit
from trainables.data.resize import Resize
from trainables.specs.data import Split
from trainables.specs.trial import Augment
from trainables.specs.workload import Task

EVERYTHING = Augment(
    horizontal_flip=0.5, vertical_flip=0.5, brightness=0.3, contrast=0.3, invert=0.3, crop=0.6
)
DIGITS = {"embedded": {"train": 11, "validation": 5, "test": 2, "side": 48}}


@pytest.fixture(params=list(EMBEDDED))
def split(request: pytest.FixtureRequest) -> PreparedSplit:
    return prepared(request.param, DIGITS, Resize.fixed(48, 48)).splits[Split.TRAIN]


def _epoch(split: PreparedSplit, epoch: int = 0, seed: int = 0, augment: Augment = EVERYTHING) -> Batches:
    return train_batches(split, epoch=epoch, seed=seed, batch_size=4, augment=augment)


def _same(one: Batch, other: Batch) -> bool:
    if one.indices != other.indices or not torch.equal(one.images, other.images):
        return False
    if one.masks is not None and other.masks is not None:
        return torch.equal(one.masks, other.masks)
    assert one.targets is not None
    assert other.targets is not None
    return all(torch.equal(a[k], b[k]) for a, b in zip(one.targets, other.targets, strict=True) for k in a)


@pytest.mark.parametrize("augment", [Augment(), EVERYTHING])
def test_a_batch_depends_on_seed_epoch_and_index_alone(split: PreparedSplit, augment: Augment) -> None:
    forwards = [_epoch(split, augment=augment)[i] for i in range(3)]
    np.random.default_rng().random()
    torch.rand(3)
    backwards = [_epoch(split, augment=augment)[i] for i in (2, 1, 0)][::-1]
    assert all(_same(a, b) for a, b in zip(forwards, backwards, strict=True))
    travelled: Batches = pickle.loads(pickle.dumps(_epoch(split, augment=augment)))
    assert _same(travelled[1], forwards[1])
    assert not _same(_epoch(split, epoch=1, augment=augment)[0], forwards[0])
    assert not _same(_epoch(split, seed=1, augment=augment)[0], forwards[0])


def test_an_image_s_changes_do_not_depend_on_its_batch(split: PreparedSplit) -> None:
    fours, ones = _epoch(split), train_batches(split, epoch=0, seed=0, batch_size=1, augment=EVERYTHING)
    assert torch.equal(torch.cat([b.images for b in fours]), torch.cat([b.images for b in ones]))


VIEWS = EVERYTHING.model_copy(update={"views": 3})


def _by_image(batches: Batches) -> dict[int, torch.Tensor]:
    return {i: image for batch in batches for i, image in zip(batch.indices, batch.images, strict=True)}


def test_views_are_the_first_epochs_over_and_over(split: PreparedSplit) -> None:
    """Each image has as many versions as asked for; the order of images still changes in every epoch."""
    seen = [_by_image(_epoch(split, epoch, augment=VIEWS)) for epoch in range(7)]
    for epoch, versions in enumerate(seen):
        assert all(torch.equal(versions[i], seen[epoch % 3][i]) for i in versions)
        if epoch < 3:
            assert _same(_epoch(split, epoch)[0], _epoch(split, epoch, augment=VIEWS)[0])
    assert not all(torch.equal(seen[0][i], seen[1][i]) for i in seen[0])
    assert _epoch(split, 0, augment=VIEWS).indices(0) != _epoch(split, 3, augment=VIEWS).indices(0)
    other = _by_image(_epoch(split, 0, seed=1, augment=VIEWS))
    assert not all(torch.equal(seen[0][i], other[i]) for i in other)


def test_views_of_nothing_are_the_images_as_stored(split: PreparedSplit) -> None:
    assert not Augment(views=3).changes_images
    assert _same(_epoch(split, 4, augment=Augment(views=3))[0], _epoch(split, 4, augment=Augment())[0])


@pytest.mark.parametrize("augment", [Augment(), VIEWS])
def test_a_batch_without_images_has_their_shape_and_targets(split: PreparedSplit, augment: Augment) -> None:
    batches = _epoch(split, 4, augment=augment)
    whole, bare = batches[2], batches.without_images(2)
    assert bare.images.is_meta
    assert bare.images.shape == whole.images.shape
    assert (bare.valid, bare.indices) == (whole.valid, whole.indices)
    seen = replace(bare, images=whole.images)
    assert _same(seen, whole)


def test_hidden_states_go_with_their_images(split: PreparedSplit) -> None:
    batch = replace(_epoch(split).without_images(0), hidden=torch.arange(4.0).view(4, 1, 1))
    pieces = list(batch.pieces(3))
    assert [piece.hidden.flatten().tolist() for piece in pieces if piece.hidden is not None] == [
        [0, 1, 2],
        [3],
    ]
    assert batch.to(torch.device("cpu")) is batch


def test_every_image_once(split: PreparedSplit) -> None:
    batches = _epoch(split)
    assert len(batches) == 3
    assert [len(b.indices) for b in batches] == [4, 4, 3]
    assert sorted(i for b in batches for i in b.indices) == list(range(11))
    assert [i for b in eval_batches(split, batch_size=4) for i in b.indices] == list(range(11))
    assert [i for b in batches for i in b.indices] != list(range(11))


def test_a_sequence(split: PreparedSplit) -> None:
    batches = eval_batches(split, batch_size=4)
    assert _same(batches[-1], batches[2])
    assert [b.indices for b in batches[1:]] == [[4, 5, 6, 7], [8, 9, 10]]
    with pytest.raises(IndexError):
        batches[3]


def test_images_and_masks_as_stored(split: PreparedSplit) -> None:
    batch = eval_batches(split, batch_size=4)[1]
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (4, 3, 48, 48)
    assert batch.images.is_contiguous()
    assert batch.valid == [(48, 48)] * 4
    assert (batch.images[2].permute(1, 2, 0).numpy() == split.image(6)).all()
    if split.has_masks:
        assert batch.targets is None
        assert batch.masks is not None
        assert batch.masks.dtype == torch.uint8
        assert (batch.masks[2].numpy() == split.mask(6)).all()
    else:
        assert batch.masks is None


def test_pieces_are_the_whole(split: PreparedSplit) -> None:
    batch = _epoch(split)[0]
    assert list(batch.pieces(4)) == [batch]
    pieces = list(batch.pieces(3))
    assert [len(p.indices) for p in pieces] == [3, 1]
    assert torch.equal(torch.cat([p.images for p in pieces]), batch.images)
    assert [i for p in pieces for i in p.indices] == batch.indices
    if split.has_masks:
        assert torch.equal(torch.cat([p.masks for p in pieces if p.masks is not None]), batch.masks)
    else:
        assert [t for p in pieces for t in p.targets or []] == batch.targets
    assert batch.to(torch.device("cpu")) is batch


def test_images_are_taken_by_their_places(split: PreparedSplit) -> None:
    batch = _epoch(split)[0]
    taken = batch.take([2, 0, 2])
    assert taken.indices == [batch.indices[2], batch.indices[0], batch.indices[2]]
    assert torch.equal(taken.images, batch.images[[2, 0, 2]])
    assert taken.valid == batch.valid[:3]
    if taken.masks is None:
        assert batch.targets is not None
        assert taken.targets == [batch.targets[2], batch.targets[0], batch.targets[2]]
    else:
        assert batch.masks is not None
        assert torch.equal(taken.masks, batch.masks[[2, 0, 2]])


def test_targets_are_shares_of_the_padded_image(tmp_path: Path) -> None:
    sizes = ((40, 60), (40, 20))
    annotations = [box(i, [4, 5, 12, 10]) for i in range(12)]
    annotations += [box(i, [0, 0, 20, 40], iscrowd=1) for i in range(12)]
    data = {"coco": {"train": coco_folder(tmp_path, 12, sizes=sizes, annotations=annotations)}}
    split = prepared(Task.DETECTION, data, Resize.edges(20)).splits[Split.TRAIN]
    assert not split.uniform
    batch = eval_batches(split, batch_size=len(split))[0]
    assert set(batch.valid) == {(20, 30), (40, 20)}
    assert batch.images.shape[2:] == (40, 30)
    assert batch.targets is not None
    for i, (height, width) in enumerate(batch.valid):
        scale = height / split.original_sizes[i, 0]
        expected = np.array([10 / 30, 10 / 40, 12 / 30, 10 / 40]) * scale
        assert batch.targets[i]["class_labels"].tolist() == [0]
        assert batch.targets[i]["class_labels"].dtype == torch.int64
        assert batch.targets[i]["boxes"].dtype == torch.float32
        np.testing.assert_allclose(batch.targets[i]["boxes"].numpy(), expected[None], rtol=1e-6)
        assert (batch.images[i, :, :height, :width].numpy() == split.planes(i)).all()
        assert not batch.images[i, :, height:].any()
        assert not batch.images[i, :, :, width:].any()
    # The crowd is left out of training only.
    assert split.truth(0).crowds.tolist() == [False, True]


def test_masks_are_padded_with_what_counts_nowhere(tmp_path: Path) -> None:
    from PIL import Image

    part = mask_folder(tmp_path, 8)
    for kind in ("images", "masks"):
        for path in sorted(Path(part[kind]).iterdir())[::2]:
            Image.open(path).crop((0, 0, 20, 40)).save(path)
    data = {"masks": {"train": part, "classes": ["ground", "cell"]}}
    split = prepared(Task.SEGMENTATION, data, Resize.edges(20)).splits[Split.TRAIN]
    batch = eval_batches(split, batch_size=len(split))[0]
    assert batch.masks is not None
    assert set(batch.valid) == {(20, 20), (40, 20)}
    for i, (height, width) in enumerate(batch.valid):
        assert (batch.masks[i, :height, :width].numpy() == split.mask(i)).all()
        assert (batch.masks[i, height:] == IGNORE).all()


def test_an_image_without_boxes(tmp_path: Path) -> None:
    part = coco_folder(tmp_path / "a", 12, annotations=[box(i, [4, 5, 12, 10]) for i in range(0, 12, 2)])
    data = {"coco": {"train": part, "validation": coco_folder(tmp_path / "b", 2, start=50)}}
    split = prepared(Task.DETECTION, data).splits[Split.TRAIN]
    for batches in (eval_batches(split, batch_size=5), _epoch(split)):
        targets = [t for b in batches for t in b.targets or []]
        assert {tuple(t["boxes"].shape) for t in targets} == {(0, 4), (1, 4)}
        assert {tuple(t["class_labels"].shape) for t in targets} == {(0,), (1,)}


def test_streams_differ_between_images_and_from_the_order() -> None:
    from trainables.data.loader import _image_rng

    first = {float(_image_rng(3, 5, i).random()) for i in range(50)}
    first.add(float(np.random.default_rng([3, 5]).random()))
    assert len(first) == 51
