"""The metrics of a report, in a tenth of a dictionary's memory: a sweep holds those of all its reports."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class ReportMetrics(Mapping[str, float | None]):
    """Metrics by name, None where a metric has no value: what is not finite has none, as in the record.

    The names are shared among all reports that have the same ones.
    """

    __slots__ = ("_places", "_values")

    def __init__(self, values: Mapping[str, float | None]) -> None:
        self._places = _places_of(tuple(values))
        numbers = array("d", [math.nan if value is None else value for value in values.values()])
        if not all(map(math.isfinite, numbers)):
            numbers = array("d", [value if math.isfinite(value) else math.nan for value in numbers])
        self._values = numbers

    def __getitem__(self, name: str) -> float | None:
        value = self._values[self._places[name]]
        return None if math.isnan(value) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return repr(dict(self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        values = handler.generate_schema(dict[str, float | None])

        def as_given(given: Any, validate: Callable[[Any], dict[str, float | None]]) -> ReportMetrics:
            return given if isinstance(given, cls) else cls(validate(given))

        return core_schema.json_or_python_schema(
            core_schema.no_info_after_validator_function(cls, values),
            core_schema.no_info_wrap_validator_function(as_given, values),
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )


@lru_cache(maxsize=1024)
def _places_of(names: tuple[str, ...]) -> dict[str, int]:
    """The place of each name, the same dictionary for the same names in the same order."""
    return {name: place for place, name in enumerate(names)}
