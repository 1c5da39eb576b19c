"""Chromium, and what tests of pages measure in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

TELEPHONE, SMALL, DESK = (390, 844), (360, 640), (1280, 900)
"""Sizes of screens, in CSS pixels."""


def chromium() -> str | None:
    """The path of Chromium; Debian's is installed for this if possible."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with suppress(subprocess.TimeoutExpired):
            for command in (["update"], ["install", "-y", "chromium"]):
                subprocess.run(["apt-get", "-q", *command], check=False, capture_output=True, timeout=400)
        found = shutil.which("chromium")
    return found


def luminance(colour: str) -> float:
    """The relative luminance of a colour such as `rgb(31, 35, 39)`, as WCAG defines it."""
    red, green, blue = (float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
