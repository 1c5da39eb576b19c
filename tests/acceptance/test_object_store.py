"""Checkpoints on S3: a real server on loopback, and a real sweep that is killed, resumed, and evaluated."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import Place
from s3 import ENVIRONMENT, Server, s3_server
from scripted import experiment

from trainables import storage_paths
from trainables.errors import StaleStartError, StorageError
from trainables.storage_paths import StorePath, sizes
from tuning.checkpoints.store_folder_claim import MARK, claim_store_folder
from tuning.ledger.ledger import read_history
from tuning.ledger.records import ExperimentRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

NAME = "stored"
FILE = f"""
name: {NAME}
task: segmentation
model: {{name: embedded, image_size: [32, 32]}}
data: {{embedded: {{domain: inverted, train: 384, validation: 32, test: 16, side: 32}}}}
objective: {{metric: dice}}
trial: {{epochs: 3, batch_size: 4, schedule: cosine, loss: cross_entropy}}
space:
  adapter: {{choice: [lora, adalora]}}
  freezing: {{choice: [frozen, unfrozen]}}
  learning_rate: {{float: [3e-4, 2e-2], log: true}}
search: {{random: {{}}, trials: 3, seed: 4}}
scheduler: {{asha: {{grace_epochs: 1, reduction_factor: 2}}}}
resources: {{concurrent: 1}}
checkpoints: {{every_s: 0.1, every_epochs: 1, CHECKPOINTS}}
scoring: {{finalists: 1}}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with s3_server() as running:
        yield running


def refuse() -> None:
    raise StaleStartError


def same(found: bytes, expected: bytes) -> None:
    assert found == expected


def test_files_on_s3(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a single request, and one of several; the errors when a server refuses, or has stopped."""
    root = StorePath.of(server.uri("a folder".replace(" ", "%20")))
    small, large = root / "trials/0007/last.ckpt", root / "trials/0007/best.ckpt"
    assert not small.exists()
    small.write_bytes(b"head", b"body")
    content = os.urandom(25_000_000)
    large.write_bytes(content)
    assert small.read_bytes() == b"headbody"
    assert large.read_bytes() == content
    small.write_bytes(b"new")
    assert sizes([small, root / "none", large, root / "trials"]) == [3, 0, 25_000_000, 0]
    assert root.files() == {"trials/0007/last.ckpt": 3, "trials/0007/best.ckpt": 25_000_000}
    for file, content in ((small, b"newer"), (large, os.urandom(20_000_000))):
        held = file.read_bytes()
        with pytest.raises(StaleStartError):
            file.write_bytes(content, ready=refuse)
        assert file.read_bytes() == held
        file.write_bytes(content, ready=lambda file=file, held=held: same(file.read_bytes(), held))
        assert file.read_bytes() == content
    monkeypatch.setattr(storage_paths, "COPIED_MOST", 3)
    with pytest.raises(StaleStartError):
        small.write_bytes(b"newest", ready=refuse)
    small.write_bytes(b"new", ready=lambda: same(small.read_bytes(), b"newer"))
    small.write_bytes(b"newest", ready=lambda: same(small.read_bytes(), b"new"))
    assert root.files() == {"trials/0007/last.ckpt": 6, "trials/0007/best.ckpt": 20_000_000}
    small.write_bytes(b"new")
    large.unlink()
    large.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        large.read_bytes()
    assert root.files() == {"trials/0007/last.ckpt": 3}
    assert (root / "nowhere").files() == {}
    with pytest.raises(StorageError, match=r"s3://absent/x/a\?endpoint.*NO_SUCH_BUCKET"):
        (StorePath.of(server.uri("x", bucket="absent")) / "a").write_bytes(b"1")
    server.stop()
    for asked in (small.read_bytes, small.exists, root.files, lambda: small.write_bytes(b"1")):
        with pytest.raises(StorageError, match=r"last\.ckpt|folder.*the store refuses, or does not answer"):
            asked()


def test_of_two_launches_that_claim_a_folder_at_once_at_most_one_gets_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one comes, as a whole, before each of the first one's requests to the server."""
    asked = experiment(checkpoints={"to": server.uri("team")})
    root = StorePath.of(server.uri("team")) / asked.name

    def gets_it(begun: float) -> bool:
        try:
            claim_store_folder(asked, ExperimentRecord(time=begun, name=asked.name, file="", experiment={}))
        except StorageError:
            return False
        return True

    inner, outcomes = StorePath._there, []
    for before in range(8):
        requests, second = 0, None

        def there(file: StorePath, before: int = before) -> Any:
            nonlocal requests, second
            if requests == before and second is None:
                requests += 1
                second = gets_it(2.0)
            requests += second is None
            return inner(file)

        monkeypatch.setattr(StorePath, "_there", there)
        outcomes.append((gets_it(1.0), second))
        monkeypatch.setattr(StorePath, "_there", inner)
        assert list(root.files()) == ([MARK] if any(outcomes[-1]) else []), before
        (root / MARK).unlink(missing_ok=True)
    assert (True, True) not in outcomes
    assert outcomes[-1] == (True, None)  # there is no such request any more
    assert {(False, True), (True, False)} <= set(outcomes)


def essence(folder: Path) -> list[Any]:
    return [
        (dict(t.params), [(r.epoch, r.step, r.objective, r.metrics) for r in t.reports], t.outcome, t.value)
        for t in read_history(folder).trials.values()
    ]


def written(storage: Path, checkpoints: str) -> str:
    storage.mkdir()
    (storage / f"{NAME}.yaml").write_text(FILE.replace("CHECKPOINTS", checkpoints))
    return str(storage / f"{NAME}.yaml")


def test_a_sweep_with_its_checkpoints_on_s3_is_the_sweep_with_them_on_disk(
    server: Server, tmp_path: Path
) -> None:
    """Killed in mid-trial and resumed to the end; scored, evaluated and exported; within its budget."""
    local = Place(tmp_path / "local", tmp_path / "cache", NAME)
    local.finish("launch", written(local.storage, "keep_best: 3"))
    place = Place(tmp_path / "stored", tmp_path / "cache", NAME)
    best = local.best()["trial"]
    budget = (local.folder / "trials" / f"{best:04d}" / "best.ckpt").stat().st_size + 100
    uri = server.uri("team")
    file = written(place.storage, f'to: "{uri}", budget_gb: {budget / 1e9:.9f}, keep_best: 1')
    root = StorePath.of(uri) / NAME
    with place.run("launch", file) as driver:
        driver.wait_for(lambda: (place.folder / "trials" / "0001").is_dir(), within_s=300)
        driver.wait_for(lambda: (root / "trials/0001/last.ckpt").exists(), every_s=0.02)
        for process in driver.kill():
            process.kill()
    place.finish("resume", NAME)
    assert essence(place.folder) == essence(local.folder)
    history, expected = read_history(place.folder), read_history(local.folder)
    assert {n: s.metrics for n, s in history.scores.items()} == {
        n: s.metrics for n, s in expected.scores.items()
    }
    assert list(place.folder.glob("trials/*/*.ckpt")) == []
    log = (place.folder / "trials" / "0001" / "log.txt").read_text()
    assert log.count("configuration ") == 2  # it was launched, and resumed
    tables = {
        path.relative_to(place.folder / "tables").as_posix() for path in place.folder.glob("tables/*/*")
    }
    assert tables
    assert set((root / "tables").files()) == tables
    there = {name: size for name, size in (root / "trials").files().items() if name.endswith(".ckpt")}
    assert list(there) == [f"{best:04d}/best.ckpt"]
    assert {n for n, t in history.trials.items() if "best.ckpt" in t.removed} == set(history.trials) - {best}
    evaluated = json.loads(place.read("evaluate", f"{NAME}:best", "--format", "json"))
    assert evaluated["weights"] == str(root / "trials" / f"{best:04d}" / "best.ckpt")
    place.read("export", f"{NAME}:best", "--to", str(tmp_path / "exported"))
    assert list((tmp_path / "exported").iterdir())


def test_a_store_that_is_not_there_is_refused_before_work_starts(server: Server, tmp_path: Path) -> None:
    server.stop()
    place = Place(tmp_path / "stored", tmp_path / "cache", NAME)
    file = written(place.storage, f'to: "{server.uri("team")}"')
    with place.run("launch", file) as driver:
        assert driver.finish() == 2
    assert "the store refuses, or does not answer" in driver.said()
    assert not place.folder.exists()
