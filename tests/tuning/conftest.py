"""Fixtures for tests of whole scripted sweeps, and of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded import BEFORE, DOMAINS, SCORES, TRIALS, experiment, write
from scripted import Sweeps, prepared_in
from typer.testing import CliRunner, Result

from cluster.connect import connect
from tuning.cli import app as cli


@pytest.fixture(scope="module")
def ray_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for all tests of a file: `launch` and `resume` use a running one, and do not shut it down."""
    with connect(None, threads=1, log=tmp_path_factory.mktemp("ray") / "ray.log"):
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like one of prepared data, with what a scripted trainable reads."""
    return prepared_in(tmp_path_factory.mktemp("data"))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """The folder with the recorded experiment `digits`."""
    write(tmp_path / "digits")
    return tmp_path


@pytest.fixture
def shifted(storage: Path) -> Path:
    """An experiment with domains, in which the best trials were scored."""
    data = {"embedded": {"domain": "inverted"}, "domains": DOMAINS}
    asked = experiment("shifted", data=data, definitions=BEFORE)
    return write(storage / "shifted", TRIALS, of=asked, scores=SCORES)


@pytest.fixture
def run(storage: Path) -> Callable[..., Result]:
    """The command line on the test's `storage`; checks the exit code, and that no traceback shows."""

    def invoke(*arguments: str, code: int = 0) -> Result:
        environment = {"ADAPTERTUNE_STORAGE": str(storage), "COLUMNS": "200"}
        result = CliRunner().invoke(cli.app, list(arguments), env=environment)
        assert result.exit_code == code, result.output + repr(result.exception)
        assert "Traceback" not in result.output
        return result

    return invoke
