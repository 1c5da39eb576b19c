"""Two launches that claim one folder on a store at once: never do both get it, wherever they interleave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from queue import SimpleQueue

import pytest
from marks import slow
from scripted import experiment

from trainables.errors import StorageError
from trainables.storage_paths import StorePath
from tuning.checkpoints.store_folder_claim import MARK, claim_store_folder
from tuning.ledger.records import ExperimentRecord

ASKED = experiment(checkpoints={"to": "file:///store"})
ROOT = StorePath.of("file:///store/sweep")
LAUNCHES = (1.0, 2.0)
"""When each launch began, by which its experiment is known."""


@dataclass
class Store:
    """A store in memory. before: called before each operation, in the thread of the launch that asks."""

    before: Callable[[], None] = lambda: None
    content: dict[str, bytes] = field(default_factory=dict)

    def read_bytes(self, file: StorePath) -> bytes:
        self.before()
        if file.path not in self.content:
            raise FileNotFoundError(file.path)
        return self.content[file.path]

    def write_bytes(self, file: StorePath, *parts: bytes) -> None:
        self.before()
        self.content[file.path] = b"".join(parts)

    def unlink(self, file: StorePath, missing_ok: bool = False) -> None:
        self.before()
        self.content.pop(file.path, None)

    def files(self, folder: StorePath) -> dict[str, int]:
        self.before()
        start = f"{folder.path}/"
        return {path[len(start) :]: len(b) for path, b in self.content.items() if path.startswith(start)}

    @property
    def names(self) -> list[str]:
        return [path.removeprefix(f"{ROOT.path}/") for path in self.content]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    for name in ("read_bytes", "write_bytes", "unlink", "files"):
        act = getattr(made, name)
        monkeypatch.setattr(StorePath, name, lambda file, *given, act=act, **how: act(file, *given, **how))
    return made


def header(begun: float) -> ExperimentRecord:
    return ExperimentRecord(time=begun, name=ASKED.name, file="", experiment={})


def claimed(begun: float) -> bool:
    """Whether a launch that began then gets the folder."""
    try:
        claim_store_folder(ASKED, header(begun))
    except StorageError:
        return False
    return True


def in_turns(store: Store, order: list[int]) -> tuple[list[bool], list[int]]:
    """Run two launches, one operation on the store at a time.

    order: which of them is next, as long as it says so and that one runs; then the one before goes on.
    Returns whether each got the folder, and which one was next each time that both ran.
    """
    here = threading.local()
    paused: SimpleQueue[bool] = SimpleQueue()  # or ended: False
    turns = [threading.Semaphore(0) for _ in LAUNCHES]

    def pause() -> None:
        paused.put(True)
        here.turn.acquire()

    def launch(index: int) -> bool:
        here.turn = turns[index]
        here.turn.acquire()
        try:
            return claimed(LAUNCHES[index])
        finally:
            paused.put(False)

    store.before = pause
    with ThreadPoolExecutor(len(LAUNCHES)) as pool:
        results = [pool.submit(launch, index) for index in range(len(LAUNCHES))]
        running, taken, last = [0, 1], [], 0
        while running:
            chosen = order[len(taken)] if len(taken) < len(order) else last
            if len(running) == 1:
                chosen = running[0]
            else:
                taken.append(chosen)
            last = chosen
            turns[chosen].release()
            if not paused.get():
                running.remove(chosen)
    return [result.result() for result in results], taken


def orders(run: Callable[[list[int]], list[int]], most_switches: int) -> Iterator[list[int]]:
    """Every order of operations in which the launches alternate at most so often. run: see `in_turns`."""
    to_try = [[0], [1]]
    while to_try:
        order = to_try.pop()
        taken = run(order)
        yield taken
        for place in range(len(order), len(taken)):
            switched = [*taken[:place], 1 - taken[place]]
            if sum(a != b for a, b in pairwise(switched)) <= most_switches:
                to_try.append(switched)


@pytest.mark.parametrize("most_switches", [3, slow(99)])
def test_of_two_launches_at_once_at_most_one_gets_the_folder(store: Store, most_switches: int) -> None:
    outcomes: set[tuple[bool, ...]] = set()

    def run(order: list[int]) -> list[int]:
        store.content.clear()
        got, taken = in_turns(store, order)
        assert got != [True, True], taken
        assert store.names == ([MARK] if any(got) else []), taken
        outcomes.add(tuple(got))
        return taken

    tried = [tuple(order) for order in orders(run, most_switches)]
    assert len(set(tried)) == len(tried)
    assert outcomes == {(True, False), (False, True), (False, False)}


@pytest.mark.parametrize("operations", range(7))
def test_what_a_launch_that_died_leaves_is_known_by_its_resume_and_named_to_others(
    store: Store, operations: int
) -> None:
    left = operations

    def die() -> None:
        nonlocal left
        left -= 1
        if left < 0:  # nothing that it does later reaches the store
            raise StorageError("dead")

    store.before = die
    assert claimed(LAUNCHES[0]) == (operations == 6)
    store.before = lambda: None
    there = dict(store.content)
    if there:
        with pytest.raises(StorageError) as refused:
            claim_store_folder(ASKED, header(LAUNCHES[1]))
        assert store.content == there
        way = f"only {MARK}" if MARK in store.names else f"remove its claim {ROOT / store.names[0]}"
        assert way in str(refused.value)
    else:
        assert claimed(LAUNCHES[1])
        store.content.clear()
    assert claimed(LAUNCHES[0])
    assert not claimed(LAUNCHES[1])
    store.content.clear()  # as the message says
    assert claimed(LAUNCHES[1])
