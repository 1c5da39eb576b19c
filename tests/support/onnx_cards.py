"""Runs the program in the card of an ONNX folder, and holds what it finds against `predict`'s."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.data.files.object_masks import decode
from trainables.export.onnx.snippet import output_names
from trainables.export.onnx.write import OnnxResult
from trainables.inference.predict import Instances, Mask, predict_image
from trainables.inference.trained_model import TrainedModel

RUNNER = """
import json, sys


class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {barred!r}:
            raise ModuleNotFoundError(name + " is barred here", name=name)


sys.meta_path.insert(0, Bar())
sys.dont_write_bytecode = True
names = {{}}
exec(open({program!r}).read(), names)
import numpy as np

found = names["find"](np.load({image!r}), *{arguments!r})
if isinstance(found, np.ndarray):
    np.save({to!r}, found)
else:
    rows = [[part.tolist() if hasattr(part, "tolist") else part for part in row] for row in found]
    json.dump(rows, open({to!r}, "w"))
"""
ARGMAX = "scores[0].argmax(0)"
"""Where the program takes the class of each pixel."""
MARGIN = "np.sort(scores[0], 0)[-1] - np.sort(scores[0], 0)[-2]"
"""How far the best class of each pixel is ahead of the second."""
BARRED = ("torch", "transformers", "peft", "PIL", "onnx", "onnxscript", "trainables", "tuning", "scipy")


def check_card(
    trained: TrainedModel, exported: OnnxResult, scratch: Path, *, threshold: float | None = None
) -> str:
    """The card, whose program finds for an image what `predict` finds."""
    text = (exported.folder / "README.md").read_text(encoding="utf-8")
    height, width = exported.size
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    found = _run(text, exported, pixels, trained, scratch, threshold)
    least = 0.5 if threshold is None else threshold
    expected = predict_image(trained, Image.fromarray(pixels), threshold=least)
    if isinstance(expected, Mask):
        other = found != expected.mask
        if other.mean() > 0.001:  # of a model with random weights: scores that are equal to rounding
            assert ARGMAX in text
            margins = _run(text.replace(ARGMAX, MARGIN), exported, pixels, trained, scratch, threshold)
            assert margins[other].max() < 1e-5
            assert margins.max() > 1e-2
    else:
        _check_objects(trained, found, expected)
    return text


def _check_objects(trained: TrainedModel, found: list[Any], expected: Any) -> None:
    assert expected.found, "nothing would be compared"
    assert len(found) == len(expected.found)
    boxes = "pred_boxes" in output_names(trained)
    for row, box in zip(found, expected.found, strict=True):
        assert abs(row[1] - box.score) < 1e-4
        # Objects with scores that are equal to rounding may come in another order.
        alike = [one for one in expected.found if abs(row[1] - one.score) < 1e-4 and row[0] == one.label]
        assert alike
        if boxes:
            edges = [[x, y, x + w, y + h] for x, y, w, h in (one.box for one in alike)]
            assert np.abs(np.array(edges) - row[2]).max(1).min() < 1e-2
    if isinstance(expected, Instances):
        for row, code in zip(found, expected.masks, strict=True):
            assert (np.array(row[-1]) == decode(code, expected.size)).mean() > 0.99  # equal to rounding


def _run(
    text: str,
    exported: OnnxResult,
    pixels: np.ndarray[Any, Any],
    trained: TrainedModel,
    scratch: Path,
    threshold: float | None,
) -> Any:
    """What `find` returns in a process that can import onnxruntime and numpy, and nothing of ours."""
    (program,) = re.findall(r"```python\n(import numpy.*?)```", text, re.S)
    assert threshold is None or "find(image)" in program or f"threshold={threshold:.4g}" in program
    masks = output_names(trained) == ["scores"]
    files = {"program": scratch / "program.py", "image": scratch / "image.npy", "to": scratch / "found.npy"}
    files["program"].write_text(program, encoding="utf-8")
    np.save(files["image"], pixels)
    arguments = [] if masks else [list(exported.size)]
    script = RUNNER.format(
        barred=BARRED, arguments=arguments, **{name: str(path) for name, path in files.items()}
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=exported.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return np.load(files["to"]) if masks else json.loads(files["to"].read_text(encoding="utf-8"))
