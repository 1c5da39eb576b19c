"""Files on a store: `file://` through pyarrow, and URIs. S3 itself is in acceptance/test_object_store.py."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import pytest

from trainables import storage_paths as store
from trainables.errors import StaleStartError, StorageError
from trainables.storage_paths import StorePath, place, sizes, uri_fault


@pytest.fixture
def root(tmp_path: Path) -> StorePath:
    return StorePath.of(f"file://{tmp_path}/a folder".replace(" ", "%20"))


def test_a_file_comes_back_as_it_was_and_is_replaced_whole(root: StorePath, tmp_path: Path) -> None:
    file = root / "trials" / "0007" / "last.ckpt"
    assert not file.exists()
    file.write_bytes(b"head", b"body")
    assert file.is_file()
    assert file.read_bytes() == b"headbody"
    file.write_bytes(b"new")
    assert (tmp_path / "a folder" / "trials" / "0007" / "last.ckpt").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "a folder").rglob("*") if path.is_file()] == ["last.ckpt"]


def test_it_reads_like_a_path(root: StorePath) -> None:
    file = root / "trials/0007" / "last.ckpt"
    assert str(file).endswith("/a%20folder/trials/0007/last.ckpt")
    assert place(str(file)) == pickle.loads(pickle.dumps(file)) == file
    assert place("/a folder/x") == Path("/a folder/x")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a/b?region=eu-central-1&endpoint_override=http://127.0.0.1:9000",
        "gs://anonymous@bucket/a/b",
        "abfs://container@account.dfs.core.windows.net/a/b",
        "file:///a/b",
    ],
)
def test_a_uri_survives_what_is_put_on_it(uri: str) -> None:
    head, _, options = uri.partition("?")
    assert str(StorePath.of(uri) / "c") == f"{head}/c" + (f"?{options}" if options else "")
    assert place(str(StorePath.of(uri) / "c")) == StorePath.of(uri) / "c"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hdfs://host/x", "file://, s3://, gs://, abfs://"),
        ("/mnt/x", "must be the URI of a folder"),
        ("file:///", "needs an absolute folder"),
        ("file://host/x", "needs an absolute folder"),
        ("s3:///x", "needs a bucket"),
        ("s3://bucket/x#1", "'#'"),
        ("s3://bucket/x?verify=1", "has the unknown option 'verify'; s3:// accepts endpoint_override"),
        ("file:///x?a=1", "unknown option 'a'; file:// accepts no options"),
        ("s3://bucket/x?region", "is not a URI"),
    ],
)
def test_a_uri_that_is_none_says_why(uri: str, said: str) -> None:
    assert said in str(uri_fault(uri))
    with pytest.raises(StorageError, match="the store's URI"):
        StorePath.of(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:hush@bucket/x",
        "s3://hush@bucket/x",
        "s3://bucket/x?access_key=hush&secret_key=hush",
        "gs://hush@bucket/x",
        "gs://anonymous:hush@bucket/x",
        "abfs://account:hush@container/x",
        "s3://AKIA:abc/hush@bucket/x",
        "s3://AKIA:abc?hush=1@bucket/x",
        "gs://AKIA/hush@bucket/x",
        "s3://bucket/x?endpoint_override=http://me:hush%40host",
        "s3://bucket/x?aws_passwd=hush",
        "abfs://c@account.dfs.core.windows.net/x?sas_token=hush",
    ],
)
def test_secrets_are_refused_and_not_repeated(uri: str) -> None:
    fault = str(uri_fault(uri))
    assert "must not contain a key or password" in fault
    assert "hush" not in fault


def test_sizes_are_asked_for_together_and_absent_files_have_none(root: StorePath, tmp_path: Path) -> None:
    (root / "b" / "one").write_bytes(bytes(3))
    (tmp_path / "two").write_bytes(bytes(5))
    asked = [root / "none", tmp_path / "two", root / "b/one", tmp_path / "none", root / "b"]
    assert sizes(asked) == [0, 5, 3, 0, 0]
    assert root.files() == {"b/one": 3}
    assert (root / "nowhere").files() == {}


def test_what_is_not_there_is_said_as_a_path_would(root: StorePath) -> None:
    with pytest.raises(FileNotFoundError):
        (root / "none").read_bytes()
    with pytest.raises(FileNotFoundError):
        (root / "none").unlink()
    (root / "none").unlink(missing_ok=True)
    (root / "one").write_bytes(b"1")
    (root / "one").unlink()
    assert root.files() == {}


def test_a_failed_write_leaves_what_was_there(
    root: StorePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "one"
    file.write_bytes(b"before")

    def torn(system: object, path: str, parts: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_stream", torn)
    with pytest.raises(StorageError, match=r"file:///.*/one: the store refuses, .*No space left"):
        file.write_bytes(b"after")
    assert file.read_bytes() == b"before"
    assert root.files() == {"one": 6}


def test_what_is_asked_last_may_still_keep_the_file_as_it_was(root: StorePath) -> None:
    file = root / "one"
    file.write_bytes(b"before")
    there: list[dict[str, int]] = []

    def ready() -> None:
        assert file.read_bytes() == b"before"
        there.append(root.files())

    file.write_bytes(b"after", b"wards", ready=ready)
    assert sorted(there[0].values()) == [6, 10]  # all of it is on the store
    assert (file.read_bytes(), root.files()) == (b"afterwards", {"one": 10})

    def refuse() -> None:
        raise StaleStartError

    with pytest.raises(StaleStartError):
        file.write_bytes(b"never", ready=refuse)
    assert (file.read_bytes(), root.files()) == (b"afterwards", {"one": 10})


def test_parts_that_were_left_behind_go_and_other_files_stay(root: StorePath) -> None:
    for name in ("one", ".one.1.part", "two.part", "below/.one.1.part"):
        (root / name).write_bytes(b"1")
    root.remove_parts()
    assert set(root.files()) == {"one", "two.part", "below/.one.1.part"}
    (root / "nowhere").remove_parts()


def test_a_store_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with socket.socket() as closed:  # reserved, and nothing listens on it
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        file = StorePath.of(f"s3://bucket/x?endpoint_override=http://127.0.0.1:{port}") / "one"
        with pytest.raises(StorageError, match="does not answer"):
            file.read_bytes()
