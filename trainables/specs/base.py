"""The base of this package's values: frozen, closed, strict models, and bounded numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Hundredths = Annotated[float, Field(ge=0.01, allow_inf_nan=False)]
Rank = Annotated[int, Field(ge=1, le=4096)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Spec(BaseModel):
    """A frozen, closed, strict value: an unknown key is an error, never a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ClashError(ValueError):
    """Settings that cannot be combined; `faults` lists each rule that they break."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
