from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_hub import fake_hub
from trained_runs import cached, train_here
from typer.testing import CliRunner, Result

from trainables.export import use
from trainables.export.onnx import write as onnx_write
from tuning.cli import app as cli


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `train` wrote."""
    with cached(tmp_path_factory):
        return train_here(
            tmp_path_factory.mktemp("runs") / "one", "detection", trial="adapter: serial_lora, epochs: 1"
        )


def _export(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["export", *arguments], env={"COLUMNS": "200"})


def test_it_says_what_it_wrote_and_by_how_much_outputs_differ(run: Path, tmp_path: Path) -> None:
    done = _export(str(run), "--to", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "an adapter for the backbone in its folder base/" in done.stdout
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or f"  {path.relative_to(tmp_path / 'out')}\n" in done.stdout
    largest = done.stdout.split("largest difference ")[1].split()[0]
    assert 0 <= float(largest) <= 2e-4  # outputs reach 18
    assert f"differ by at most {largest}." in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_the_card_has_what_the_record_knows(run: Path, tmp_path: Path) -> None:
    assert _export(str(run), "--to", str(tmp_path / "out"), "--merge").exit_code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    last = json.loads((run / "reports.jsonl").read_text().splitlines()[-1])
    metrics = last["metrics"]
    assert "| | map_50 | map | map_75 |" in card  # the objective first
    assert f"| validation images, epoch 1 | {metrics['map_50']:.4f} | {metrics['map']:.4f} |" in card
    assert "for AP and AR it is 0" in card
    assert "library_name: transformers" in card
    assert "  adapter: serial_lora" in card
    assert f"adaptertune train {run / 'experiment.yaml'}" in card
    assert "- devices: " in card


def test_the_card_has_the_floors_of_the_recorded_images(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with cached(tmp_path_factory):
        folder = train_here(tmp_path_factory.mktemp("runs") / "masks", "segmentation")
    assert _export(str(folder), "--to", str(tmp_path / "out")).exit_code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    floors = json.loads((folder / "definitions.json").read_text())["floors"]["validation"]
    assert f"| floor of these images | {floors['dice']:.4f} | {floors['iou']:.4f} |" in card
    assert "Definitions: dice 2: mean over the foreground classes" in card
    assert "collapsed" not in card


def test_a_folder_that_is_not_empty_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = _export(str(run), "--to", str(tmp_path))
    assert done.exit_code == 2
    assert "is not empty; choose another folder with --to" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_threshold_that_training_chose_travels_along(run: Path, tmp_path: Path) -> None:
    (line,) = (run / "reports.jsonl").read_text().splitlines()
    chosen = json.loads(line)["metrics"]["score_threshold"]
    assert _export(str(run), "--to", str(tmp_path / "out")).exit_code == 0
    assert json.loads((tmp_path / "out" / "threshold.json").read_text())["score"] == chosen
    assert f"a score of {chosen:.4g} or more" in (tmp_path / "out" / "README.md").read_text()
    assert use.threshold(tmp_path / "out") == chosen
    assert use.threshold(tmp_path) is None  # a folder without one


def test_it_is_pushed_with_the_files_that_were_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(monkeypatch) as hub:
        done = _export(str(run), "--to", str(tmp_path / "out"), "--push", "me/digits")
        assert done.exit_code == 0, done.output
    written = {
        p.relative_to(tmp_path / "out").as_posix(): p for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    assert hub.repos == {"me/digits": {name: path.read_bytes() for name, path in written.items()}}
    said = f"uploaded {len(written)} files to me/digits, which is private: {hub.url}/me/digits/commit/"
    assert said in done.stdout


def test_a_push_that_cannot_succeed_is_an_error_before_any_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        done = _export(str(run), "--to", str(tmp_path / "out"), "--push", "me/digits")
    assert done.exit_code == 2
    assert "cannot log in to the hub" in done.stderr
    done = _export(str(run), "--to", str(tmp_path / "out"), "--public")
    assert done.exit_code == 2
    assert "--public is for the repository of --push; add --push REPO, or leave it out" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_onnx_says_what_it_takes_and_by_how_much_outputs_differ(run: Path, tmp_path: Path) -> None:
    done = _export(str(run), "--to", str(tmp_path / "out"), "--onnx")
    assert done.exit_code == 0, done.output
    assert f"in {tmp_path / 'out'}: an ONNX model, the adapter merged, " in done.stdout
    for path in (tmp_path / "out").iterdir():
        assert f"  {path.name}\n" in done.stdout
    assert "it takes a batch of any number of images of 64 by 64 pixels" in done.stdout
    card = (tmp_path / "out" / "README.md").read_text()
    for name in ("logits", "pred_boxes"):
        largest = done.stdout.split("largest differences: ")[1].split(f"{name} ")[1][:7]
        assert 0 < float(largest) < 1e-4
        assert f"`{name}` {largest}" in card
    last = json.loads((run / "reports.jsonl").read_text().splitlines()[-1])["metrics"]
    assert f"threshold={last['score_threshold']:.4g}):" in card
    assert f"| {last['map_50']:.4f} |" in card


def test_external_data_is_of_an_onnx_file_only(run: Path, tmp_path: Path) -> None:
    done = _export(str(run), "--to", str(tmp_path / "out"), "--external-data")
    assert done.exit_code == 2
    assert "says where the weights of an ONNX file are; add --onnx" in done.stderr
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_packages_is_refused_with_the_way_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_write, "find_spec", lambda _: None)
    done = _export(str(run), "--to", str(tmp_path / "out"), "--onnx")
    assert done.exit_code == 2
    assert "pip install 'adaptertune[onnx]'" in done.stderr
    assert not list(tmp_path.iterdir())
