"""The `resources` section: the CPUs and GPUs of a worker process, and how many trials it trains at once."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import (
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trainables.specs.base import Count, Hundredths, NotNegative, Positive, Spec


class ResourceSpec(Spec):
    """The resources of one worker process, and how many trials run at once."""

    cpus: Hundredths = 1.0
    """CPUs that a worker reserves."""
    gpus: NotNegative | Literal["auto"] = "auto"
    """GPUs of a worker: a fraction of one, or a whole number; auto: one if a machine has any."""
    memory_gb: Positive | None = None
    """GB of RAM that a worker reserves; when absent, memory does not decide where workers run."""
    concurrent: Count | None = None
    """The most trials at once; as many as fit when absent."""
    threads: Count = 1
    """CPU threads that torch uses in a worker."""
    packing: Count | Literal["auto", "off"] = "auto"
    """How many trials a worker trains at once, as a pack: a number, auto, or off for one after the other."""

    def gpus_of_worker(self, *, any_there: bool) -> float:
        """The GPUs that a worker reserves. any_there: whether a machine has one."""
        return float(any_there) if self.gpus == "auto" else float(self.gpus)

    @property
    def shares_a_gpu(self) -> bool:
        """Whether several workers are to share one GPU."""
        return self.gpus != "auto" and 0 < self.gpus < 1

    @property
    def packs(self) -> bool:
        """Whether trials are computed in packs, be it of one."""
        return self.packing != "off" and not self.shares_a_gpu

    @model_validator(mode="after")
    def _one_way_to_share(self) -> Self:
        if self.shares_a_gpu and isinstance(self.packing, int):
            raise ValueError(
                f"packing: {self.packing} needs a whole GPU for each worker, got gpus: {self.gpus:g};"
                " set gpus: 1 and let packing share it, or packing: off"
            )
        return self

    @field_validator("packing", mode="wrap")
    @classmethod
    def _number_auto_or_off(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError(
                "packing", "must be auto, off, or a whole number of trials, 1 or more"
            ) from None

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
