"""Detectors whose box predictor and classifier have several names, and PEFT."""

from __future__ import annotations

from typing import Any


def untie(model: Any) -> None:
    """Let PEFT take no tied head of a detector for an embedding, which it would search for in vain.

    The tensors stay tied. An exported folder's `use.py` does the same.
    """
    kind = type(model)
    if isinstance(getattr(kind, "_tied_weights_keys", None), property):  # DEIMv2's cannot be set
        model.__class__ = type(kind.__name__, (kind,), {"_tied_weights_keys": None})
    else:
        model._tied_weights_keys = None
