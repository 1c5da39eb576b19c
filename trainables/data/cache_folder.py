"""The cache folder of this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The cache folder: `ADAPTERTUNE_CACHE`, or ~/.cache/adaptertune."""
    given = os.environ.get("ADAPTERTUNE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "adaptertune"
