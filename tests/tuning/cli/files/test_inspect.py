from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_makers import box, coco_folder, mask_folder
from PIL import Image
from saved_models import save_yolos
from typer.testing import Result

from trainables.specs.workload import Task
from tuning.cli.files.inspect import InspectedTask

Run = Callable[..., Result]


def experiment(path: Path, data: dict[str, Any], *, metric: str = "map_50") -> Path:
    path.write_text(
        f"name: mine\ntask: detection\nobjective: {{metric: {metric}}}\ndata: {json.dumps(data)}\n"
        "trial: {adapter: lora, epochs: 1}\n"
    )
    return path


def test_an_experiment_file(run: Run, tmp_path: Path) -> None:
    file = experiment(tmp_path / "mine.yaml", {"coco": {"train": coco_folder(tmp_path, 10)}})
    out = run("inspect", str(file)).stdout
    assert out.startswith("mine: detection data of kind coco\ntraining would take these data\n")
    assert "train       6 images, 12 boxes: 12 small, 0 medium, 0 large" in out
    assert "cat  10 objects (50.0 %) in 10 images: 10 small, 0 medium, 0 large" in out
    assert "60×40 → 64×64 (10)" in out
    assert "the head is new: the checkpoint knows none of the 2 classes" in out
    assert "`--to DIR` writes a page and a contact sheet with pictures" in out


def test_a_shipped_experiment(run: Run) -> None:
    small = ("--set", "data.embedded.train=8", "--set", "data.embedded.validation=2")
    out = run("inspect", "quickstart", *small, "--set", "data.embedded.test=2").stdout
    assert "training would take these data" in out
    assert "the checkpoint's head is kept: it knows all 11 classes" in out


def test_a_folder_writes_page_and_sheet(run: Run, tmp_path: Path) -> None:
    coco_folder(tmp_path / "data", 5)
    out = run("inspect", str(tmp_path / "data"), "--to", str(tmp_path / "look"), "--images", "3").stdout
    assert "found: COCO JSON: train annotations_0.json" in out
    assert out.endswith(
        f"{tmp_path / 'look' / 'inspection.html'}\n{tmp_path / 'look' / 'contact-sheet.png'}\n"
    )
    page = (tmp_path / "look" / "inspection.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    assert sorted(os.listdir(tmp_path / "look")) == ["contact-sheet.png", "inspection.html"]


def test_a_folder_of_masks_by_its_task(run: Run, tmp_path: Path) -> None:
    mask_folder(tmp_path / "data", 5)
    out = run("inspect", str(tmp_path / "data"), "--task", "segmentation").stdout
    assert "foreground" in out
    assert "of the pixels, in 5 images" in out
    said = run("inspect", str(tmp_path / "data"), "--task", "detection", code=2).stderr
    assert "none was found for task detection" in said


def test_a_model_sets_size_and_classes(run: Run, tmp_path: Path) -> None:
    coco_folder(tmp_path / "data", 5)
    names = {"id2label": {0: "cat", 1: "dog", 2: "cow"}, "label2id": {"cat": 0, "dog": 1, "cow": 2}}
    model = save_yolos(tmp_path / "model", size={"height": 80, "width": 96}, **names)
    out = run("inspect", str(tmp_path / "data"), "--model", str(model)).stdout
    assert "60×40 → 96×80 (5)" in out
    assert "the checkpoint's head is kept: it knows all 2 classes, among 3" in out
    assert "dog: label 1" in out


def test_refused_data_have_a_page_and_exit_code_2(run: Run, tmp_path: Path) -> None:
    corners = [box(i, [4, 5, 40, 35], area=36 * 30) for i in range(8)]
    part = coco_folder(tmp_path, 8, annotations=corners)
    file = experiment(tmp_path / "mine.yaml", {"coco": {"train": part}})
    out = run("inspect", str(file), "--to", str(tmp_path / "look"), code=2).stdout
    assert "training would refuse these data (1 reason)" in out
    page = (tmp_path / "look" / "inspection.html").read_text()
    assert "Training would refuse these data (1 reason)." in page
    assert "boxes must be [x, y, width, height]" in page
    assert page.count("data:image/jpeg;base64,") == 8


def test_json_is_whole_and_alone_on_stdout(run: Run, tmp_path: Path) -> None:
    part = coco_folder(tmp_path, 6)
    (tmp_path / "images" / "image_003.png").unlink()
    file = experiment(tmp_path / "mine.yaml", {"coco": {"train": part}})
    record = json.loads(run("inspect", str(file), "--json", code=2).stdout)
    assert record["faults"]["count"] == 1
    assert record["refusals"][0].startswith("data must have no errors with the rule 'stop', got 1")
    assert [c["name"] for c in record["classes"]] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.yaml"], "there is no file absent.yaml, and no shipped experiment of that name"),
        (["{data}", "--set", "a=b"], "--set replaces keys of an experiment file"),
        (["{data}", "--model", "/no/model"], "model.name: no folder /no/model"),
        (["quickstart", "--task", "detection"], "--task is for a folder of data"),
        (["{empty}"], "must hold COCO JSON, a YOLO data.yaml"),
        (["{data}", "--to", "{file}"], "must be written to"),
        (["{data}", "--images", "0"], "--images"),
    ],
)
def test_what_is_asked_wrongly(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    coco_folder(tmp_path / "data", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    places = {name: str(tmp_path / name) for name in ("data", "empty", "file")}
    result = run("inspect", *(each.format(**places) for each in arguments), code=2)
    assert said in result.stderr


def test_a_file_that_is_no_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photo.yaml").write_bytes(b"\xff\xd8\xff")
    assert "is not UTF-8 text" in run("inspect", str(tmp_path / "photo.yaml"), code=2).stderr


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Interrupted while it writes: no file is half written, and the exit code is 130."""
    coco_folder(tmp_path / "data", 2)
    data = str(tmp_path / "data")
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a background job
        "from pathlib import Path\n"
        "real = os.replace\n"
        "def stop(a, b):\n"
        "    if str(b).endswith('inspection.html'):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return real(a, b)\n"
        "os.replace = stop\n"
        "from tuning.cli.app import main\n"
        "import sys\n"
        f"sys.argv = ['adaptertune', 'inspect', {data!r}, '--to', {str(tmp_path / 'look')!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert "Traceback" not in done.stderr
    left = os.listdir(tmp_path / "look")
    assert not [name for name in left if name.endswith(".tmp")]


def test_the_tasks_are_those_of_experiments() -> None:
    assert [str(task) for task in InspectedTask] == [str(task) for task in Task]


def test_names_that_are_no_text_and_odd_pixels(run: Run, tmp_path: Path) -> None:
    """Whatever a folder holds, the answer is a page and a reason, never a traceback."""
    part = coco_folder(tmp_path / "data", 6, annotations=[box(i, [4, 5, 12, 10]) for i in range(6)])
    images = Path(part["images"])
    file = json.loads(Path(part["annotations"]).read_text())
    odd = [os.fsdecode(b"b\xff\xfe.png"), "new\nline <b>.png", "gone \u202e.png"]
    for number, name in enumerate(odd[:2]):
        os.rename(images / f"image_00{number}.png", images / name)
    for number, name in enumerate(odd):
        file["images"][number] |= {"file_name": name}
    file["categories"] = [{"id": 3, "name": "a\nb"}, {"id": 7, "name": "<script>" + "x" * 300}]
    for number, given in enumerate(([1e8, 1, 2, 2], None, [1, 1, float("nan"), 2], ["a", 1, 2, 3])):
        file["annotations"][number]["bbox"] = given
    Path(part["annotations"]).write_text(json.dumps(file))
    (images / "image_003.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(images / "image_004.png")
    Image.new("RGB", (5000, 2)).save(images / "image_005.png")
    out = run("inspect", str(tmp_path / "data"), "--to", str(tmp_path / "look"), code=2).stdout
    assert "names of images must be UTF-8 text, but 'b\\udcff\\udcfe.png' is not; rename these files" in out
    assert "'a\\nb'" in out
    page = (tmp_path / "look" / "inspection.html").read_text(encoding="utf-8")
    assert "<script>x" not in page
    assert "new line &lt;b&gt;.png" in page
    record = json.loads(run("inspect", str(tmp_path / "data"), "--json", code=2).stdout)
    assert len(record["shown"]) == 6
