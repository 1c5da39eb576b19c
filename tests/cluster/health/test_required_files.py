from __future__ import annotations

from pathlib import Path

import pytest

from cluster.health.required_files import (
    Contents,
    HubModel,
    Weights,
    identity_of,
    look_at_paths,
    look_for_weights,
)


def test_what_is_at_the_paths(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").touch()
    (tmp_path / "labels.json").write_text("[1]")
    found = look_at_paths({name: str(tmp_path / name) for name in ("images", "labels.json", "absent")})
    assert found == {
        "images": Contents(True, 3), "labels.json": Contents(False, 3), "absent": "No such file or directory",
    }  # fmt: skip
    assert Contents(True, 3).words == "3 entries"
    assert Contents(False, 3000).words == "3,000 bytes"


def test_a_large_folder_is_not_counted_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.health.required_files.MOST_ENTRIES", 2)
    for number in range(3):
        (tmp_path / f"{number}.png").touch()
    found = look_at_paths({"a": str(tmp_path)})["a"]
    assert found == Contents(True, 2)
    assert isinstance(found, Contents)
    assert found.words == "at least 2 entries"


def test_a_folder_is_known_again_and_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert identity_of(tmp_path / "a") == identity_of(tmp_path / "a") != identity_of(tmp_path / "b")
    assert identity_of(tmp_path / "c") is None


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_weights_are_in_the_cache_of_the_hub(cache: Path) -> None:
    model = HubModel("google/vit")
    assert look_for_weights(model) == Weights(False, error="HF_HUB_OFFLINE is set")
    folder = cache / "models--google--vit"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "config.json").write_text("{}")
    assert not look_for_weights(model).cached  # its configuration alone is no model
    (folder / "snapshots" / "abc" / "model.safetensors").touch()
    assert look_for_weights(model) == Weights(True)
    assert not look_for_weights(HubModel("google/vit", "v2")).cached


def test_a_hub_that_is_asked_says_why_not(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(HfApi, "model_info", lambda self, name, **options: None)
    assert look_for_weights(HubModel("google/vit")) == Weights(False, reachable=True)

    def refuse(self: HfApi, name: str, **options: object) -> None:
        raise ConnectionError("no route to the hub\nmore")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    assert look_for_weights(HubModel("google/vit")) == Weights(False, error="no route to the hub")


def test_what_is_no_name_of_a_model_is_told(cache: Path) -> None:
    assert "no name of a model" in look_for_weights(HubModel("a/b/c/d")).error
