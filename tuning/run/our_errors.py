"""Errors of the system that a user can act on, raised as errors of adaptertune."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.connect import RayStartError
from cluster.ray_folder import NoShortFolderError
from trainables.errors import ClusterError, StorageError


@contextmanager
def as_our_errors() -> Iterator[None]:
    """Raise StorageError for a cluster that does not answer, and for a full or read-only disk.

    Raises ClusterError if Ray does not start on this machine.
    """
    try:
        yield
    except RayStartError as error:
        raise ClusterError(str(error)) from error
    except OSError as error:
        if isinstance(error, ConnectionError | NoShortFolderError):
            raise StorageError(str(error)) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StorageError(
                f"cannot write {error.filename or 'temporary files'}: {error.strerror};"
                " free some space there, or set TMPDIR to another disk"
            ) from error
        raise
