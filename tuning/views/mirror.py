"""A copy of an experiment's tables on the store of its checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import StorageError
from trainables.object_store import StorePath
from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
from tuning.ledger.records import Record
from tuning.ledger.storage import checkpoint_root
from tuning.messages import say

if TYPE_CHECKING:
    from tuning.views.view import View


COPY_EVERY_S = 10.0


class MirroredView:
    """A view that keeps folders of files in `local`, and a copy of them on a store, kept up to date.

    A store that does not answer costs the view nothing: it is said once, and tried again.
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
        """Bytes of each file on the store, and when the one here had changed; None if that is not known."""
        self._said = False

    def begin(self, history: History) -> None:
        """Bring both up to date."""
        self._view.begin(history)
        self._copy()

    def observe(self, record: Record) -> None:
        """The next record."""
        self._view.observe(record)

    def settle(self) -> None:
        """Nothing waits: a moment to copy what is new."""
        self._view.settle()
        if self._clock() - self._copied_at >= COPY_EVERY_S:
            self._copy()

    def close(self) -> None:
        """The last files, too."""
        self._view.close()
        self._copy()

    def _copy(self) -> None:
        self._copied_at = self._clock()
        try:
            self._bring_up_to_date()
        except (OSError, StorageError) as error:
            self._there = None
            if not self._said:
                self._said = True
                say(f"{self.title} are not copied just now: {error}. The sweep goes on; it is tried again")
        else:
            self._said = False

    def _bring_up_to_date(self) -> None:
        if self._there is None:
            self._there = {name: (size, None) for name, size in self._to.files().items()}
        here = self._here()
        for name, stat in here.items():
            size, changed = self._there.get(name, (-1, None))
            if size != stat.st_size or changed not in (None, stat.st_mtime_ns):
                (self._to / name).write_bytes((self._local / name).read_bytes())
            self._there[name] = (stat.st_size, stat.st_mtime_ns)
        # New ones first: what a merged part replaces goes only once that one is there.
        for name in [name for name in self._there if name not in here]:
            (self._to / name).unlink(missing_ok=True)
            del self._there[name]

    def _here(self) -> dict[str, os.stat_result]:
        """Files by their names below `local`; what says that a part is whole comes after its tables."""
        found = {}
        for path in sorted(self._local.glob("*/*"), key=lambda path: (path.suffix == ".json", path)):
            if not path.parent.name.startswith("."):  # still being written
                with suppress(FileNotFoundError):  # merged into another meanwhile
                    found[path.relative_to(self._local).as_posix()] = path.stat()
        return found


def with_mirror(view: View, experiment: Experiment, folder: Path, local: Path) -> View:
    """`view`, with a copy of what it keeps in `local` on the experiment's store, if it has one."""
    root = checkpoint_root(experiment, folder)
    if not isinstance(root, StorePath):
        return view
    return MirroredView(view, local, root / local.relative_to(folder).as_posix())
