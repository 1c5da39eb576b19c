from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from trainables.data.files.pixels import resized
from trainables.data.resize import Interpolation, Resize


def test_fixed_ignores_the_shape() -> None:
    assert Resize.fixed(64, 96).target(480, 640) == (64, 96)
    assert Resize.fixed(64, 96).is_fixed
    assert not Resize.edges(64).is_fixed


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((480, 640), (800, 1066)),
        ((640, 480), (1066, 800)),
        ((400, 2000), (267, 1333)),  # limited by the longest edge
        ((800, 1000), (800, 1000)),
    ],
)
def test_shortest_edge_as_in_detr(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Resize.edges(800, 1333).target(*shape) == expected


def test_every_size_equals_transformers() -> None:
    from transformers.image_transforms import get_size_with_aspect_ratio
    from transformers.models.yolos.image_processing_pil_yolos import get_size_with_aspect_ratio_yolos

    rng = np.random.default_rng(0)
    for shortest, longest in ((800, 1333), (512, 864), (256, None), (64, 96)):
        detr, yolos = Resize.edges(shortest, longest), Resize.edges(shortest, longest, multiple_of=16)
        # Also sizes near the limits, where rounding decides.
        shapes = [*rng.integers(48, 2000, (2000, 2)), *rng.integers(shortest - 3, shortest + 300, (2000, 2))]
        for height, width in ((int(h), int(w)) for h, w in shapes):
            assert detr.target(height, width) == get_size_with_aspect_ratio(
                (height, width), shortest, longest
            )
            ours = yolos.target(height, width)
            theirs = get_size_with_aspect_ratio_yolos((height, width), shortest, longest)
            assert ours == (max(16, theirs[0]), max(16, theirs[1]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"height": 3},
        {"longest_edge": 5},
        {"height": 3, "width": 4, "shortest_edge": 5},
        {"height": 0, "width": 1},
    ],
)
def test_only_one_form(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Resize(**fields)


def test_round_trip() -> None:
    size = Resize.edges(256, 320, multiple_of=16)
    assert Resize.model_validate_json(size.model_dump_json()) == size


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_every_interpolation_gives_the_size_and_leaves_an_even_image(interpolation: Interpolation) -> None:
    even = Image.new("RGB", (37, 20), (10, 200, 30))
    for size in ((8, 16), (64, 50), (20, 37)):
        found = resized(even, size, interpolation)
        assert found.shape == (*size, 3)
        assert (found == np.array([10, 200, 30])).all()


def test_points_are_the_four_pixels_beside_a_new_ones_centre() -> None:
    """As torch's bilinear interpolation without antialiasing, to a rounding."""
    draw = np.random.default_rng(0)
    for (height, width), size in (((60, 45), (16, 16)), ((20, 30), (32, 50))):
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        expected = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
        found = resized(Image.fromarray(pixels), size, Interpolation.BILINEAR_POINTS)
        assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() < 1.01
        smooth = resized(Image.fromarray(pixels), size, Interpolation.BILINEAR)
        assert (np.abs(found.astype(int) - smooth).max() > 20) == (height > size[0])


def test_a_bilinear_rule_is_written_as_before() -> None:
    """So that prepared data and records of before keep their fingerprints."""
    assert "interpolation" not in Resize.fixed(32, 48).model_dump(mode="json")
    cubic = Resize.fixed(32, 48).by(Interpolation.BICUBIC)
    assert Resize.model_validate_json(cubic.model_dump_json()) == cubic
    assert cubic.model_dump(mode="json")["interpolation"] == "bicubic"
