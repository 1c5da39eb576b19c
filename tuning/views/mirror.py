"""A copy of an experiment's tables on the object store of its checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import StorageError
from trainables.storage_paths import StorePath
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.records import Record
from tuning.ledger.storage import checkpoint_root
from tuning.messages import say

if TYPE_CHECKING:
    from tuning.views.view import View


COPY_EVERY_S = 10.0


class MirroredView:
    """A view that writes folders of files in `local`, with an up-to-date copy of them on an object store.

    If the store does not answer, this is reported once and tried again; the view itself continues.
    """

    def __init__(
        self, view: View, local: Path, to: StorePath, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title = view.title
        self._view = view
        self._local = local
        self._to = to
        self._clock = clock
        self._copied_at = float("-inf")
        self._there: dict[str, tuple[int, int | None]] | None = None
        """The size of each file on the store and the modification time of its local file; None if unknown."""
        self._reported = False

    def begin(self, history: History) -> None:
        """Bring the view and its copy up to date."""
        self._view.begin(history)
        self._copy()

    def observe(self, record: Record) -> None:
        """See `View`."""
        self._view.observe(record)

    def settle(self) -> None:
        """See `View`. Also copies new files, at most every `COPY_EVERY_S`."""
        self._view.settle()
        if self._clock() - self._copied_at >= COPY_EVERY_S:
            self._copy()

    def close(self) -> None:
        """See `View`. Also copies the last files."""
        self._view.close()
        self._copy()

    def abandon(self) -> None:
        """See `View`."""
        self._view.abandon()

    def _copy(self) -> None:
        self._copied_at = self._clock()
        try:
            self._bring_up_to_date()
        except (OSError, StorageError) as error:
            self._there = None
            if not self._reported:
                self._reported = True
                say(f"{self.title} cannot be copied now: {error}. The sweep continues and tries again")
        else:
            self._reported = False

    def _bring_up_to_date(self) -> None:
        if self._there is None:
            self._there = {name: (size, None) for name, size in self._to.files().items()}
        here = self._here()
        for name, stat in here.items():
            size, changed = self._there.get(name, (-1, None))
            if size != stat.st_size or changed not in (None, stat.st_mtime_ns):
                (self._to / name).write_bytes((self._local / name).read_bytes())
            self._there[name] = (stat.st_size, stat.st_mtime_ns)
        # New files first: the files that a merged part replaces are removed only after it is copied.
        for name in [name for name in self._there if name not in here]:
            (self._to / name).unlink(missing_ok=True)
            del self._there[name]

    def _here(self) -> dict[str, os.stat_result]:
        """Files by their names below `local`; `part.json`, which completes a part, comes after its tables."""
        found = {}
        for path in sorted(self._local.glob("*/*"), key=lambda path: (path.suffix == ".json", path)):
            if not path.parent.name.startswith("."):  # still being written
                with suppress(FileNotFoundError):  # merged into another part in the meantime
                    found[path.relative_to(self._local).as_posix()] = path.stat()
        return found


def with_mirror(view: View, experiment: Experiment, folder: Path, local: Path) -> View:
    """`view`, with a copy of its folder `local` on the experiment's object store, if it has one."""
    root = checkpoint_root(experiment, folder)
    if not isinstance(root, StorePath):
        return view
    return MirroredView(view, local, root / local.relative_to(folder).as_posix())
