from __future__ import annotations

from pathlib import Path

from PIL import Image
from recorded import FLOORS, LORA, Told, experiment, write

from analysis.query.sweep import Sweep
from analysis.sweep_picture import COLOURS, draw_sweep
from trainables.specs.adapters import Adapter
from tuning.ledger.ledger import read_history


def test_every_adapter_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == {adapter.value for adapter in Adapter}
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_the_picture_is_a_png_of_readable_size(sweep: Sweep, tmp_path: Path) -> None:
    path = draw_sweep(sweep, tmp_path / "curves.png")
    assert path is not None
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width >= 1200
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 50


def test_a_floor_is_a_line_of_the_picture(tmp_path: Path) -> None:
    drawn = [
        draw_sweep(Sweep.at(write(tmp_path / name / "s", floors=floors)), tmp_path / f"{name}.png")
        for name, floors in (("with", FLOORS), ("without", None))
    ]
    one, other = (path.read_bytes() for path in drawn if path is not None)
    assert one != other


def test_no_picture_without_a_report(tmp_path: Path) -> None:
    sweep = Sweep.of(read_history(write(tmp_path / "young", (Told(LORA, (), None),), closed=None)))
    assert draw_sweep(sweep, tmp_path / "curves.png") is None
    assert not (tmp_path / "curves.png").exists()


def test_a_single_trial_without_baseline_is_drawn(tmp_path: Path) -> None:
    record = write(tmp_path / "one", (Told(LORA, (0.5,)),), of=experiment("one", epochs=1), baseline=None)
    assert draw_sweep(Sweep.at(record), tmp_path / "curves.png") is not None
