"""SkyPilot's own loader reads our task files, in an environment of its own: its dependencies are not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jobs import EXPERIMENT, job, skypilot

from cluster.manifests.skypilot import run_script, skypilot_task

VERSION = "0.14.1"
LOAD = """
import json, sys
import sky
import yaml
sky.Task.from_yaml(sys.argv[1])
task = sky.Task.from_yaml_config(  # as the command does with --secret
    yaml.safe_load(open(sys.argv[1])), secrets_overrides=[("RAY_AUTH_TOKEN", "0" * 64)]
)
(found,) = task.resources
print(json.dumps({
    "name": task.name, "nodes": task.num_nodes, "run": task.run, "setup": task.setup, "spot": found.use_spot,
    "cpus": found.cpus, "memory": found.memory, "accelerators": found.accelerators,
    "image": found.image_id, "secrets": sorted(task.secrets),
}))
"""
pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds SkyPilot. Skips the test if it cannot be installed."""
    venv = tmp_path_factory.mktemp("sky") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    installed = venv / "bin" / "python"
    words = [installed, "-m", "pip", "install", "--quiet", f"skypilot=={VERSION}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"SkyPilot cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return installed


def loaded(python: Path, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = folder / "task.yaml"
    file.write_text(text, encoding="utf-8")
    own = {"HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    return subprocess.run(
        [python, "-c", LOAD, str(file)], env=os.environ | own, capture_output=True, text=True, check=False
    )


def test_the_loader_reads_the_task_as_it_was_meant(python: Path, tmp_path: Path) -> None:
    profile = skypilot(
        nodes=3, gpus=2, gpu_type="L4", memory="16GiB", image="a/b:1", spot=True, setup=["pip install x"]
    )
    of = job(experiment=EXPERIMENT + "END_OF_TEXT\n  '\" : - #\n")
    done = loaded(python, tmp_path, skypilot_task(profile, of))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "name": "nuclei-1", "nodes": 3, "run": run_script(profile, of), "setup": "set -e\npip install x\n",
        "spot": True, "cpus": "4+", "memory": "16+", "accelerators": {"L4": 2},
        "image": {"null": "docker:a/b:1"}, "secrets": ["RAY_AUTH_TOKEN"],
    }  # fmt: skip


def test_the_loader_refuses_other_keys(python: Path, tmp_path: Path) -> None:
    done = loaded(python, tmp_path, skypilot_task(skypilot(), job()) + "nodes: 3\n")
    assert done.returncode != 0
    assert "nodes" in done.stderr
