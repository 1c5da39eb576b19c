"""Checks that `scheduler.asha.fidelity` fits trials, model, objective and packing."""

from __future__ import annotations

from collections.abc import Iterator

from tuning.experiment.checks.draft import Draft
from tuning.experiment.file_errors import Violation
from tuning.experiment.smaller_images import smaller_fault

AT = ("scheduler", "asha", "fidelity")


def check_smaller_images(draft: Draft) -> Iterator[Violation]:
    """Images of rising size need one number of epochs with enough rungs, one objective, and no packs."""
    asha = draft.scheduler.asha if draft.scheduler is not None else None
    if asha is None or asha.fidelity is None:
        return
    if "epochs" in draft.written:
        yield Violation(
            AT,
            "needs the same number of epochs in all trials, and space searches epochs; set trial.epochs",
        )
    elif "epochs" not in draft.invalid | draft.touched:  # a short trial run has images of one size
        epochs = draft.trial.get("epochs", 10)
        assert isinstance(epochs, int)
        if (fault := smaller_fault(asha, epochs)) is not None:
            yield Violation(AT, fault)
    sizes, own = asha.fidelity.resolution, draft.model.image_size if draft.model is not None else None
    if sizes is not None and own is not None and sizes[-1] != own:
        yield Violation(
            (*AT, "resolution"),
            f"must end with model.image_size, {list(own)}, got {list(sizes[-1])}",
        )
    if draft.further or draft.constraints:
        yield Violation(
            AT,
            "needs one objective without constraints, because values on smaller images are not the final ones"
            " of any of them; remove it, or the other objectives and the constraints",
        )
    if draft.resources is not None and isinstance(draft.resources.packing, int):
        yield Violation(
            ("resources", "packing"),
            f"is {draft.resources.packing}, but with scheduler.asha.fidelity the trials of a pack would have"
            " images of different sizes; use auto or off, with which each trains alone, or remove fidelity",
        )
