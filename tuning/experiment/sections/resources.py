"""The `resources` section: the CPUs and GPUs of a trial."""

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
    """The resources of one trial, and how many trials run at once."""

    cpus: Hundredths = 1.0
    """CPUs that a trial reserves."""
    gpus: NotNegative | Literal["auto"] = "auto"
    """GPUs of a trial: a fraction of one, or a whole number; auto: one if the machine has any."""
    concurrent: Count | None = None
    """The most trials at once; as many as fit when absent."""
    threads: Count = 1
    """CPU threads that torch uses in a trial."""

    def gpus_of_trial(self, *, any_there: bool) -> float:
        """The GPUs that a trial reserves. any_there: whether a machine has one."""
        return float(any_there) if self.gpus == "auto" else float(self.gpus)

    @field_validator("gpus", mode="wrap")
    @classmethod
    def _number_or_auto(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        # One rule instead of one error for each side of the union.
        rule = PydanticCustomError(
            "gpus", "must be auto, a fraction of one GPU such as 0.5, or a whole number, 0 or more"
        )
        try:
            gpus = handler(value)
        except ValidationError:
            raise rule from None
        # Ray can assign a fraction of one GPU, or whole GPUs.
        if gpus != "auto" and gpus > 1 and not float(gpus).is_integer():
            raise rule
        return gpus
