"""The `resources` section: what a trial gets of a machine."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from trainables.specs.base import Count, Hundredths, NotNegative, Spec


class ResourceSpec(Spec):
    """What one trial occupies, and how many run at once."""

    cpus: Hundredths = 1.0
    gpus: NotNegative | Literal["auto"] = "auto"
    """GPUs of a trial: a part of one, or a whole number; auto: one where the machine has any."""
    concurrent: Count | None = None
    """Most trials at once; as many as fit when absent."""
    threads: Count = 1
    """CPU threads that torch uses in a trial."""

    @field_validator("gpus", mode="wrap")
    @classmethod
    def _number_or_auto(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        # One rule in place of one error for each side of the union.
        rule = PydanticCustomError(
            "gpus", "must be the word auto, a part of one GPU such as 0.5, or a whole number from 0 on"
        )
        try:
            gpus = handler(value)
        except ValidationError:
            raise rule from None
        # Ray gives out parts of a single GPU, and whole GPUs.
        if gpus != "auto" and gpus > 1 and not float(gpus).is_integer():
            raise rule
        return gpus
