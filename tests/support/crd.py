"""KubeRay's published schema of a RayJob, and validation against it as Kubernetes does it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

FILE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "kuberay" / "ray.io_rayjobs.yaml"

DOCUMENTED = {
    "spec": {
        "entrypoint", "submissionMode", "backoffLimit", "activeDeadlineSeconds", "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished", "rayClusterSpec",
    },
    "spec.rayClusterSpec": {"authOptions", "headGroupSpec", "workerGroupSpecs"},
    "spec.rayClusterSpec.headGroupSpec": {"rayStartParams", "template"},
    "spec.rayClusterSpec.workerGroupSpecs[]": {
        "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template",
    },
}  # fmt: skip
"""The fields of v1 that our manifests may have, from KubeRay's API reference."""


def rayjob_errors(manifest: dict[str, Any]) -> list[str]:
    """What KubeRay's schema has against a RayJob, unknown fields included; skips without the schema."""
    if not FILE.is_file():
        pytest.skip("KubeRay's schema is not next to the checkout, in ../shared/reference/kuberay")
    return sorted(f"{error.json_path}: {error.message}" for error in _validator().iter_errors(manifest))


@cache
def _validator() -> Any:
    """Of version v1. The file has a megabyte, so it is read by libyaml where that is there, and once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load(FILE.read_text(encoding="utf-8"), loader)
    version = next(v for v in definition["spec"]["versions"] if v["name"] == "v1")
    return jsonschema.Draft202012Validator(_strict(version["schema"]["openAPIV3Schema"]))


def undocumented(manifest: dict[str, Any]) -> list[str]:
    """The fields of a RayJob that are not in DOCUMENTED, down to the templates of its pods."""
    spec = manifest["spec"]
    cluster = spec["rayClusterSpec"]
    parts: list[tuple[str, dict[str, Any]]] = [
        ("spec", spec),
        ("spec.rayClusterSpec", cluster),
        ("spec.rayClusterSpec.headGroupSpec", cluster["headGroupSpec"]),
        *(("spec.rayClusterSpec.workerGroupSpecs[]", group) for group in cluster.get("workerGroupSpecs", ())),
    ]
    return [f"{path}.{key}" for path, part in parts for key in part.keys() - DOCUMENTED[path]]


def _strict(schema: Any) -> Any:
    """The schema, with unknown fields refused where Kubernetes would drop them."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = dict(_fields(schema))
    closed = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    if closed and schema.get("type") == "object" and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    return made


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        if key == "properties":
            yield key, {name: _strict(inner) for name, inner in value.items()}
        elif key in ("enum", "required", "default", "example"):
            yield key, value
        else:
            yield key, _strict(value)
