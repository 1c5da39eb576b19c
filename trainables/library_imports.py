"""Imports transformers without two costs that no trial needs; a worker imports this module before it.

Both save a fifth of a second of processor time in each worker, and both end in the plain import if a library
is not as expected here (checked with transformers 5.24, scipy 1.17):

- `import transformers` reads every file of its 450 models for the names that it defines, and
  `import transformers.models` does so again, because the cache of that function holds only 128 folders. The
  second result is the first without a prefix.
- `transformers.loss` imports `scipy.optimize` for one function, which only the loss of detectors calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_MATCHING = "linear_sum_assignment"


class _Deferred(ModuleType):
    """Stands for a module that is imported when a name is used that it does not have itself."""

    def __init__(self, name: str, spec: ModuleSpec, functions: tuple[str, ...]) -> None:
        super().__init__(name)
        self.__spec__ = spec
        self.__file__ = spec.origin
        # An import of a name asks whether its module is a package; the answer must not need the real one.
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        for function in functions:
            setattr(self, function, _deferred(name, function))

    def __getattr__(self, name: str) -> Any:
        return getattr(_real(self.__name__), name)


def _deferred(module: str, name: str) -> Callable[..., Any]:
    """The function `name` of a module that is imported at its first call."""

    def call(*args: Any, **options: Any) -> Any:
        return getattr(_real(module), name)(*args, **options)

    return call


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _Deferred):
        del sys.modules[name]
    return import_module(name)


@contextmanager
def deferred(name: str, *functions: str) -> Iterator[None]:
    """Inside the block, an import of functions of a module imports it only when they are called.

    Every other use of the module imports it at once. After the block, so does every import statement.
    """
    try:
        spec = find_spec(name) if name not in sys.modules else None
    except ImportError:  # its package is not installed
        spec = None
    if spec is None:
        yield
        return
    sys.modules[name] = _Deferred(name, spec, functions)
    try:
        yield
    finally:
        if isinstance(sys.modules.get(name), _Deferred):
            del sys.modules[name]


@contextmanager
def models_listed_once() -> Iterator[None]:
    """Inside the block, `transformers.models` takes the names of its models from `transformers`."""
    utils: Any = import_module("transformers.utils.import_utils")
    listed = getattr(utils, "define_import_structure", None)
    if listed is None:
        yield
        return
    folder = Path(utils.__file__).parents[1] / "models"

    def taken(path: Any, prefix: str | None = None) -> Any:
        if prefix is not None or Path(path) != folder / "__init__.py":
            return listed(path, prefix)
        try:
            # The arguments with which `transformers/__init__.py` has called it: the result is cached.
            return without_prefix(listed(folder, prefix="models"), "models.")
        except (AttributeError, TypeError):
            return listed(path)

    utils.define_import_structure = taken
    try:
        yield
    finally:
        utils.define_import_structure = listed


def without_prefix(structure: Any, prefix: str) -> dict[Any, dict[str, Any]]:
    """An import structure, by backends and modules, of the modules below `prefix`, relative to it."""
    return {
        backends: {
            name.removeprefix(prefix): objects for name, objects in modules.items() if name.startswith(prefix)
        }
        for backends, modules in structure.items()
    }


def import_transformers() -> None:
    """Import what a worker needs of transformers; errors of the imports are raised."""
    with models_listed_once():
        import_module("transformers.models")
    with deferred("scipy.optimize", _MATCHING):
        import_module("transformers.modeling_utils")


import_transformers()
