"""The file by which the driver tells a running pack which trials start and which leave."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from trainables.errors import StorageError
from trainables.specs.pack import PackedTrial, PackOrder, PackOrders
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Halt


class OrderFile:
    """The orders of one pack. The file holds those that the worker has not acknowledged, in any case whole.

    It is written under another name and renamed, and read by the worker at the start of each step.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._orders: tuple[PackOrder, ...] = ()
        self._written: tuple[PackOrder, ...] = ()
        self._last = 0

    def start(self, trial: PackedTrial) -> None:
        """Add an order to start a trial."""
        self._add(PackOrder(number=self._last + 1, start=trial))

    def leave(self, trial: int, *, save: bool = False) -> None:
        """Add an order to give up a trial. save: its state is saved first, as it will continue."""
        self._add(PackOrder(number=self._last + 1, leave=trial, save=save))

    def acknowledge(self, read: int) -> None:
        """Forget the orders that the worker has read. read: the number of the last one."""
        self._orders = tuple(order for order in self._orders if order.number > read)
        self._written = ()  # what is left may have been lost

    def write(self) -> None:
        """Write the file if orders are new. Raises Halt if the disk cannot be written."""
        if not self._orders or self._orders == self._written:
            return
        text = PackOrders(orders=self._orders).model_dump_json()
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(exist_ok=True)
            part.write_text(text, encoding="utf-8")
            os.replace(part, self.path)
        except OSError as error:
            fault = StorageError(
                f"{self.path}: cannot tell a worker what to train: {error.strerror}. Continue the sweep with"
                " `adaptertune resume`"
            )
            raise Halt(Ending.FAILED, fault) from error
        self._written = self._orders

    def remove(self) -> None:
        """Remove the file; its pack has ended."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _add(self, order: PackOrder) -> None:
        self._last = order.number
        self._orders = (*self._orders, order)
