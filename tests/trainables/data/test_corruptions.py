from __future__ import annotations

import io
import pickle
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from data_makers import mask_folder, prepared
from PIL import Image

from trainables.data import corruptions
from trainables.data.corruptions import CorruptedSplit, corrupt_image
from trainables.data.loader import eval_batches, train_batches
from trainables.data.prepared import Array, PreparedSplit
from trainables.specs.data import Corruption, CorruptionSpec, Split
from trainables.specs.trial import Augment
from trainables.specs.workload import Task


def _photo(side: int = 96) -> Array:
    """A smooth, colourful scene with edges in it."""
    y, x = np.mgrid[0:side, 0:side] / side
    scene = np.stack([0.2 + 0.5 * x, 0.3 + 0.4 * y, 0.6 - 0.3 * x * y], axis=-1)
    scene[side // 4 : side // 2, side // 3 : side // 2] = (0.8, 0.15, 0.25)
    return (scene * 255).astype(np.uint8)


def _changed(kind: Corruption, severity: int, image: Array | None = None, name: str = "a.png") -> Array:
    image = _photo() if image is None else image
    return corrupt_image(image, CorruptionSpec(kind=kind, severity=severity), name)


@pytest.mark.parametrize("kind", list(Corruption))
@pytest.mark.parametrize("shape", [(96, 96), (40, 61), (1, 1)])
def test_size_and_type_stay_and_the_input_too(kind: Corruption, shape: tuple[int, int]) -> None:
    image = np.ascontiguousarray(_photo()[: shape[0], : shape[1]])
    before = image.copy()
    for severity in range(1, 6):
        changed = _changed(kind, severity, image)
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert (image == before).all()


@pytest.mark.parametrize("kind", list(Corruption))
def test_a_higher_severity_is_farther_from_the_image(kind: Corruption) -> None:
    far = [float(np.abs(_changed(kind, s) - _photo().astype(float)).mean()) for s in range(1, 6)]
    assert far[0] > 0
    assert all(later > earlier for earlier, later in pairwise(far)), far


@pytest.mark.parametrize("kind", list(Corruption))
def test_the_same_image_kind_and_severity_give_the_same_pixels(kind: Corruption) -> None:
    assert (_changed(kind, 3) == _changed(kind, 3)).all()


def test_kinds_differ() -> None:
    looks = [_changed(kind, 4) for kind in Corruption]
    assert all((one != other).any() for one, other in combinations(looks, 2))


def test_noise_is_drawn_anew_for_every_image_and_severity() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    one, other = (_changed(Corruption.NOISE, 2, grey, name).astype(float) - 128 for name in ("a", "b"))
    weaker = _changed(Corruption.NOISE, 1, grey, "a").astype(float) - 128
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(one.ravel(), weaker.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("severity", range(1, 6))
def test_the_strengths_of_imagenet_c(severity: int) -> None:
    """The constants in the code of Hendrycks & Dietterich 2019, checked by their effect on an image."""
    at = severity - 1
    grey = np.full((128, 128, 3), 128, np.uint8)
    if severity < 4:  # stronger noise is clipped at black and white
        spread = _changed(Corruption.NOISE, severity, grey).std() / 255
        assert spread == pytest.approx((0.08, 0.12, 0.18)[at], rel=0.03)
    image = _photo()
    mean = image.mean((0, 1))
    kept = (_changed(Corruption.CONTRAST, severity) - mean) / (image - mean + 1e-9)
    strong = np.abs(image - mean) > 40
    assert np.median(kept[strong]) == pytest.approx((0.4, 0.3, 0.2, 0.1, 0.05)[at], abs=0.01)
    dark = np.full((8, 8, 3), (20, 60, 40), np.uint8)
    brighter = _changed(Corruption.BRIGHTNESS, severity, dark)[0, 0] / 255
    assert brighter.max() == pytest.approx(60 / 255 + (0.1, 0.2, 0.3, 0.4, 0.5)[at], abs=0.003)
    assert brighter / brighter.max() == pytest.approx([1 / 3, 1, 2 / 3], abs=0.01)  # hue and saturation
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[at])
    assert (_changed(Corruption.JPEG, severity) == np.asarray(Image.open(file))).all()


def test_blur_has_its_width_at_224_pixels_and_is_relative_to_the_side() -> None:
    from scipy.ndimage import gaussian_filter

    for side, sigma in ((224, 3.0), (112, 1.5)):
        image = np.zeros((side, side, 3), np.uint8)
        image[side // 4 : side // 2, side // 4 : side // 2] = 255
        want = gaussian_filter(image[..., 0].astype(float), sigma, mode="nearest")
        assert np.abs(_changed(Corruption.BLUR, 3, image)[..., 0] - want).max() < 8


def test_style_mixes_channels_flattens_tones_and_draws_edges() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[:, 16:, 0] = 255
    look = _changed(Corruption.STYLE, 5, red)
    assert look[16, 28].argmax() == 2  # red has become blue
    ramp = np.linspace(0, 255, 4096).astype(np.uint8).reshape(64, 64)
    # Tones are counted along a ramp that is too flat for edges to darken it.
    assert len(np.unique(_changed(Corruption.STYLE, 5, np.stack([ramp] * 3, -1))[..., 0])) < 40
    grey = np.full((32, 32, 3), 255, np.uint8)
    grey[:, 16:] = 128
    drawn = _changed(Corruption.STYLE, 3, grey)[16, :, 0]
    assert drawn[15] < drawn[0]
    assert drawn[16] < drawn[31]


@pytest.fixture
def split(tmp_path: Path) -> PreparedSplit:
    data = {"masks": {"train": mask_folder(tmp_path, 9), "classes": ["a", "b"]}}
    return prepared(Task.SEGMENTATION, data).splits[Split.TRAIN]


def test_a_split_in_another_look_keeps_all_but_its_pixels(split: PreparedSplit) -> None:
    spec = CorruptionSpec(kind=Corruption.NOISE, severity=5)
    other = CorruptedSplit.of(split, spec)
    assert other.names == split.names
    for i, name in enumerate(split.names):
        assert (other.image(i) == corrupt_image(split.image(i), spec, name)).all()
        assert (other.mask(i) == split.mask(i)).all()
        assert other.truth(i).name == name
    (ours,), (theirs,) = eval_batches(other, batch_size=64), eval_batches(split, batch_size=64)
    assert (ours.images != theirs.images).any()
    assert ours.masks is not None
    assert theirs.masks is not None
    assert (ours.masks == theirs.masks).all()


def test_a_split_in_another_look_travels_and_is_cut_like_any(split: PreparedSplit) -> None:
    other = CorruptedSplit.of(split, CorruptionSpec(kind=Corruption.JPEG, severity=2))
    again, part = pickle.loads(pickle.dumps(other)), other.only([1, 3])
    assert (again.image(2) == other.image(2)).all()
    assert part.names == [split.names[1], split.names[3]]
    assert (part.image(1) == other.image(3)).all()
    assert (pickle.loads(pickle.dumps(part)).image(0) == other.image(1)).all()


def test_what_is_kept_in_memory_is_bounded(split: PreparedSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruptions, "KEPT_BYTES", 2 * split.planes(0).nbytes)
    other = CorruptedSplit.of(split, CorruptionSpec(kind=Corruption.CONTRAST))
    held = [other.planes(i) for i in range(len(other))]
    assert other.planes(0) is held[0]
    assert other.planes(4) is not held[4]
    assert (other.planes(4) == held[4]).all()
    assert not held[0].flags.writeable


def test_augmentation_and_looks_go_together(split: PreparedSplit) -> None:
    other = CorruptedSplit.of(split, CorruptionSpec(kind=Corruption.BLUR))
    batch = train_batches(
        other, epoch=0, seed=0, batch_size=4, augment=Augment(horizontal_flip=0.5, crop=0.7, brightness=0.2)
    )[0]
    assert batch.images.shape == (4, 3, 32, 48)
