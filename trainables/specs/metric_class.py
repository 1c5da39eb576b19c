"""Whether the class of a metric such as `dice/cat`, or of a weight in the loss, is one of the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trainables.specs.workload import MetricName
from trainables.wording import few, nearest_name

ALIKE = 0.6
"""The least similarity of a class that was meant: names are short, and `dgo` has 0.67 of `dog`."""
SHOWN = 20
"""The most classes that a message lists."""


def class_error(asked: MetricName, classes: Sequence[str]) -> str | None:
    """The error in the class of a metric such as `dice/cat`, if any. Empty `classes`: not known yet."""
    name = asked.of_class
    if name is None or not classes or name in classes:
        return None
    return _no_class(name, classes)


def weight_error(named: Iterable[str], classes: Sequence[str]) -> str | None:
    """The error in the classes of `loss_weights`, if any. named: them.  Empty `classes`: not known yet."""
    strange = [name for name in named if name not in classes] if classes else []
    return _no_class(strange[0], classes) if strange else None


def no_weights(kind: str) -> str:
    """The error of `loss_weights` for a model type whose loss takes none; see `TaskFacts.own_losses`."""
    return (
        f"the loss of {kind} is that of transformers, which knows no weights of classes; remove them, or "
        "show images of rare classes more often with sampling: {balance: class}"
    )


def _no_class(name: str, classes: Sequence[str]) -> str:
    close = nearest_name(name, classes, ALIKE)
    return f"there is no class '{name}'" + (
        f"; did you mean '{close}'?" if close else f"; the data has {few(classes, SHOWN, counted=True)}"
    )
