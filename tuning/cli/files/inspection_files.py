"""Writes the page and the contact sheet of `inspect`: whole, or not at all."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import StorageError

if TYPE_CHECKING:
    from trainables.inspection.inspection import Inspection

PAGE, SHEET = "inspection.html", "contact-sheet.png"


def check_folder(folder: Path) -> None:
    """Make the folder if it does not exist, before the work starts. Raises StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _cannot(folder, error) from error


def write_inspection(found: Inspection, folder: Path) -> list[Path]:
    """Draw and write both files into an existing folder; returns their paths. Raises StorageError."""
    from trainables.inspection.pictures import contact_sheet
    from tuning.cli.files.inspection_page import inspection_page

    pictures = found.pictures()
    png = io.BytesIO()
    contact_sheet(pictures, found.subject.title).save(png, "PNG", optimize=True)
    page = inspection_page(found, pictures)
    return write_whole({PAGE: page.encode(), SHEET: png.getvalue()}, folder)


def write_whole(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write all files under other names first, then rename them, so that none is ever half written.

    Raises StorageError, and leaves none of its own files behind then, nor after Ctrl-C.
    """
    temporary = {name: folder / f".{name}.{os.getpid()}.tmp" for name in files}
    try:
        for name, content in files.items():
            temporary[name].write_bytes(content)
        for name, path in temporary.items():
            os.replace(path, folder / name)
    except OSError as error:
        raise _cannot(folder, error) from error
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return [folder / name for name in files]


def _cannot(folder: Path, error: OSError) -> StorageError:
    reason = (error.strerror or str(error)).lower()
    return StorageError(
        f"the results must be written to {folder}, but that failed: {reason}; name another folder with --to"
    )
