from __future__ import annotations

import json
from collections.abc import Callable

from typer.testing import Result


def test_schema_is_one_of_experiment_files(run: Callable[..., Result]) -> None:
    assert json.loads(run("schema").stdout)["properties"]["task"]
