"""Any sampler of Optuna or OptunaHub, by the name of its class."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import TypeGuard

import optuna
from optuna.samplers import BaseSampler
from pydantic import JsonValue

from trainables.errors import ExperimentFileError
from tuning.experiment.file_errors import closest_name, suggestion
from tuning.experiment.sections.search import OptunaSpec
from tuning.search.samplers.draw import Draw

INSTEAD = {
    "CmaEsSampler": "it stores pickled objects, which a record must not hold; use search.cmaes",
    "GridSampler": "it takes a grid of its own; use search.grid",
    "BruteForceSampler": "it works only inside Study.optimize; use search.grid",
    "QMCSampler": "its seed must be the same for all proposals; use search.qmc",
    "PartialFixedSampler": "it wraps another sampler; fix settings under `trial` instead",
}
"""Samplers that cannot be named, and what to do instead."""


class RefusedSamplerError(ExperimentFileError):
    """A sampler that cannot be built. key: the key below `search.optuna`.  rule: what is allowed."""

    def __init__(self, key: str, rule: str) -> None:
        super().__init__(f"search.optuna.{key}  {rule}")
        self.key, self.rule = key, rule


def build_named(spec: OptunaSpec, draw: Draw) -> BaseSampler:
    """Build the sampler. Raises RefusedSamplerError for an unknown name and for wrong arguments."""
    kind = _class_of(spec.sampler) if spec.package is None else _hub_class(spec)
    taken = inspect.signature(kind).parameters
    for name, value in spec.arguments.items():
        at = f"arguments.{name}"
        if name == "seed":
            raise RefusedSamplerError(at, "is set for each proposal; remove it, and use search.seed")
        if name not in taken:
            other = suggestion(name, list(taken))
            raise RefusedSamplerError(at, f"is no argument of {spec.sampler}, got {json.dumps(value)}{other}")
    seed = {"seed": draw.seed} if "seed" in taken else {}
    return _built(kind, spec.arguments, seed)


def _class_of(name: str) -> type[BaseSampler]:
    known = {
        each: found
        for each in optuna.samplers.__all__
        if _is_sampler(found := getattr(optuna.samplers, each))
    }
    usable = sorted(known.keys() - INSTEAD.keys())
    if name in INSTEAD:
        raise RefusedSamplerError("sampler", f"cannot be {name}: {INSTEAD[name]}")
    if name not in known:
        close = closest_name(name, usable)
        guess = f"; did you mean '{close}'?" if close else ""
        raise RefusedSamplerError(
            "sampler",
            f"must be a sampler of Optuna {optuna.__version__} ({', '.join(usable)}), got '{name}'{guess}",
        )
    return known[name]


@cache
def _hub_module(package: str, ref: str) -> ModuleType:
    try:
        import optunahub
    except ImportError as error:
        raise RefusedSamplerError(
            "package", "needs the package optunahub: pip install 'adaptertune[optunahub]'"
        ) from error
    try:
        module: ModuleType = optunahub.load_module(package, ref=ref)
    except Exception as error:  # of git, of the network, or of the code that is loaded
        raise RefusedSamplerError(
            "package", f"'{package}' of commit {ref[:10]} cannot be loaded: {error or type(error).__name__}"
        ) from error
    return module


def _hub_class(spec: OptunaSpec) -> type[BaseSampler]:
    assert spec.package is not None
    assert spec.ref is not None
    module = _hub_module(spec.package, spec.ref)
    known = [name for name, found in vars(module).items() if _is_sampler(found)]
    if spec.sampler not in known:
        offered = ", ".join(known) or "it has none"
        raise RefusedSamplerError(
            "sampler", f"must be a sampler of {spec.package} ({offered}), got '{spec.sampler}'"
        )
    kind: type[BaseSampler] = getattr(module, spec.sampler)
    return kind


def _is_sampler(found: object) -> TypeGuard[type[BaseSampler]]:
    return inspect.isclass(found) and issubclass(found, BaseSampler) and not inspect.isabstract(found)


def _built(
    kind: type[BaseSampler], arguments: Mapping[str, JsonValue], seed: Mapping[str, int]
) -> BaseSampler:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind(**arguments, **seed)
    except Exception as error:  # whatever a class raises for arguments that it does not take
        given = json.dumps(dict(arguments))
        raise RefusedSamplerError(
            "arguments", f"{kind.__name__} refuses {given}: {error or type(error).__name__}"
        ) from error
