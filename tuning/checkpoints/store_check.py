"""Tests that an object store takes checkpoints and gives them back."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from cluster.health.required_files import StoreAnswer
from trainables.errors import StorageError
from trainables.storage_paths import StorePath


def check_store(uri: str) -> StoreAnswer:
    """Write an object into the store's folder, read it back, and remove it. Runs on the nodes."""
    try:
        place = StorePath.of(uri) / f".adaptertune-check-{secrets.token_hex(6)}"
        content = secrets.token_bytes(4096)
        try:
            begun = time.perf_counter()
            place.write_bytes(content)
            took = time.perf_counter() - begun
            found = place.read_bytes()
        finally:
            with suppress(StorageError):
                place.unlink(missing_ok=True)
    except StorageError as error:
        return StoreAnswer(str(error))
    except FileNotFoundError:
        return StoreAnswer(f"{uri}: an object that was written cannot be read")
    if found != content:
        return StoreAnswer(f"{uri}: an object that was written is read with another content")
    return StoreAnswer(write_ms=took * 1000)
