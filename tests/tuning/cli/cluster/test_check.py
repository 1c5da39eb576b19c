from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from local_check import in_this_process  # noqa: F401
from typer.testing import Result

from tuning.exit_codes import FAILED, INTERRUPTED, USER_ERROR

FILE = """
name: pets
task: detection
model: {name: NAME}
data: {coco: {train: {images: images, annotations: labels.json}}}
objective: {metric: map}
trial: {epochs: 1}
space:
  learning_rate: {float: [1e-4, 1e-2], log: true}
  adapter: {choice: [lora]}
  freezing: {choice: [frozen]}
search: {random: {}, trials: 2, seed: 1}
"""


def probes(storage: Path) -> list[Path]:
    return list(storage.rglob(".adaptertune-check-*"))


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment file with data and a model beside it."""
    Path("images").mkdir()
    Path("labels.json").write_text("{}")
    Path("vit").mkdir()
    path = Path("pets.yaml")
    path.write_text(FILE.replace("NAME", "./vit"))
    return path


def test_an_experiment_that_the_machine_is_ready_for(
    run: Callable[..., Result], storage: Path, file: Path
) -> None:
    """With a Ray of its own, as for a user."""
    document = json.loads(run("cluster", "check", str(file), "--json").stdout)
    (node,) = document["nodes"]
    assert (document["experiment"], document["errors"], document["joined"]) == ("pets", 0, False)
    assert document["storage"] == str(storage)
    assert set(node["data"]) == {"data.coco.train.images", "data.coco.train.annotations", "model.name"}
    assert (node["storage"]["shared"], node["storage"]["seen"]) == (True, True)
    assert probes(storage) == []


@pytest.mark.usefixtures("in_this_process")
def test_what_is_missing_is_an_error_with_its_path_and_the_exit_code_says_it(
    run: Callable[..., Result], storage: Path, file: Path
) -> None:
    Path("labels.json").unlink()
    text = run("cluster", "check", str(file), "--set", "resources.cpus=512", code=FAILED).stdout
    assert (
        f"error: the driver: cannot read data.coco.train.annotations: {Path('labels.json').absolute()}"
        in text
    )
    assert "a worker needs CPUs: 512" in text
    assert text.splitlines()[-1].startswith("2 errors")
    assert probes(storage) == []


@pytest.mark.usefixtures("in_this_process")
def test_a_recorded_experiment_is_checked_in_its_own_storage(
    run: Callable[..., Result], storage: Path
) -> None:
    given = (("digits",), (str(storage / "digits"), "--storage", str(storage / "elsewhere")))
    for arguments in given:
        document = json.loads(run("cluster", "check", *arguments, "--json").stdout)
        assert (document["experiment"], document["storage"]) == ("digits", str(storage))
    assert not (storage / "elsewhere").exists()


@pytest.mark.usefixtures("in_this_process")
def test_without_an_experiment_the_machine_is_checked(run: Callable[..., Result]) -> None:
    result = run("cluster", "check")
    assert "1 node, a Ray that was started on this machine" in result.stdout
    assert "checking a Ray started on this machine" in result.stderr


@pytest.mark.usefixtures("in_this_process")
def test_weights_that_are_nowhere_are_an_error(
    run: Callable[..., Result], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(FILE.replace("NAME", "nobody/has-this-model"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    document = json.loads(run("cluster", "check", str(file), "--json", code=FAILED).stdout)
    (problem,) = [each for each in document["problems"] if each["severity"] == "error"]
    assert problem["check"] == "weights"
    assert "nobody/has-this-model" in problem["text"]


@pytest.mark.usefixtures("in_this_process")
def test_an_object_store_that_refuses_is_an_error(
    run: Callable[..., Result], file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    bad, good = (f"checkpoints.to=file://{tmp_path}/{name}" for name in ("file", "store"))
    document = json.loads(run("cluster", "check", str(file), "--set", bad, "--json", code=FAILED).stdout)
    assert [each["check"] for each in document["problems"] if each["severity"] == "error"] == ["store"]
    (node,) = json.loads(run("cluster", "check", str(file), "--set", good, "--json").stdout)["nodes"]
    assert node["object_store"]["error"] == ""
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.usefixtures("in_this_process")
def test_a_token_that_others_can_read_is_a_warning_with_its_remedy(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own can be entered by its user alone
        token = Path(folder).resolve() / "auth_token"
        token.parent.chmod(0o755)
        token.touch()
        token.chmod(0o644)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        text = run("cluster", "check").stdout
        document = json.loads(run("cluster", "check", "--json").stdout)
        token.chmod(0o600)
        mended = json.loads(run("cluster", "check", "--json").stdout)
    assert f"has the token of Ray in {token}, which other users of the machine can read" in text
    assert f"`chmod 600 {token}` there" in text
    (node,) = document["nodes"]
    (problem,) = [each for each in document["problems"] if each["check"] == "token"]
    assert (problem["severity"], problem["node"]) == ("warning", node["node"])
    assert f"chmod 600 {token}" in problem["remedy"]
    assert node["machine"]["exposed_token"] == str(token)
    assert mended["nodes"][0]["machine"]["exposed_token"] is None
    assert all(each["check"] != "token" for each in mended["problems"])


@pytest.mark.usefixtures("in_this_process")
def test_a_storage_that_cannot_be_written_is_an_error(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.health.checks.probe_in", lambda folder: Path("/proc/no-such").mkdir())
    text = run("cluster", "check", code=FAILED).stdout
    assert f"error: the driver: cannot write in the storage folder {storage}: No such file" in text


@pytest.mark.usefixtures("in_this_process")
def test_ctrl_c_ends_it_and_leaves_nothing(
    run: Callable[..., Result], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        assert probes(storage)
        raise KeyboardInterrupt

    monkeypatch.setattr("local_check.examine_storage", interrupted)
    run("cluster", "check", code=INTERRUPTED)
    assert probes(storage) == []


# --- what the user gave -----------------------------------------------------------------------


def test_what_cannot_be_checked_is_refused_before_ray_starts(
    run: Callable[..., Result], storage: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("tuning.cli.cluster.check.connect", start)
    (storage / "a-file").touch()
    for arguments, said in (
        (["pets.yml"], "there is no file pets.yml"),
        (["quikstart"], "did you mean 'quickstart'?"),
        (["--storage", str(storage / "a-file")], f"{storage / 'a-file'} is a file"),
        (["--storage", str(storage / "a-file" / "below")], f"{storage / 'a-file'} is a file"),
        (["--storage", "s3://bucket/folder"], "checkpoints.to"),
        (["--set", "name=other"], "give FILE, too"),
        (["digits", "--set", "name=other"], "digits is a recorded experiment"),
        ([str(file), "--set", "search.trails=3"], "did you mean 'trials'?"),
        (["--timeout", "0"], "--timeout"),
    ):
        assert said in " ".join(run("cluster", "check", *arguments, code=USER_ERROR).stderr.split()), (
            arguments
        )
    for arguments in (
        ["--json"],
        ["--address", "auto"],
        ["--timeout", "5"],
        ["--storage", "."],
        ["--set", "a=1"],
    ):
        said = run("cluster", "profiles", *arguments, code=USER_ERROR).stderr
        assert f"{arguments[0]} is an option of `adaptertune cluster check`" in said
