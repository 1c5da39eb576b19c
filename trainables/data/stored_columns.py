"""The columns of prepared data on disk, by the version of the stored format."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

SCHEMA = 3
"""The version of the stored format, a part of the fingerprint."""
SINGLE = 2
"""The version that stored boxes in single precision; it is still read, and written for old experiments."""
INSTANCES = 4
"""The version with a mask of each object, for tasks that need them."""


def _columns(number: Any) -> Any:
    """The columns of a split's file; boxes are of type `number`."""
    return pa.schema(
        [
            ("name", pa.string()),
            ("image", pa.large_binary()),  # planar: 3 · height · width bytes: stacking gives (B, 3, H, W)
            ("mask", pa.large_binary()),  # height · width bytes, or null
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("original_height", pa.int32()),
            ("original_width", pa.int32()),
            ("boxes", pa.list_(pa.list_(number, 4))),  # xywh in ORIGINAL pixels
            ("labels", pa.list_(pa.int64())),
            ("areas", pa.list_(pa.float64())),
            ("crowds", pa.list_(pa.bool_())),
        ]
    )


COLUMNS = _columns(pa.float64())
VERSIONS = {
    SINGLE: _columns(pa.float32()),
    SCHEMA: COLUMNS,
    INSTANCES: pa.schema(
        [
            *COLUMNS,
            ("masks", pa.list_(pa.large_binary())),  # run-length encoded, in ORIGINAL pixels
            ("objects", pa.list_(pa.large_binary())),  # the same at the stored size
        ]
    ),
}
"""The columns of each version that can be read."""
