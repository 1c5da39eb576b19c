from __future__ import annotations

import socket
import threading

import pytest

from cluster.liveness import PATIENCE_S, REACT_WITHIN_S, Watch, listens


class Watched:
    """A cluster that answers or not, a watch over it, and whether the process was given up."""

    def __init__(self) -> None:
        self.answers, self.given_up = True, 0
        self.watch = Watch(lambda: self.answers, self._give_up)

    def _give_up(self) -> None:
        self.given_up += 1


def test_a_cluster_that_is_silent_for_long_is_lost_and_the_process_given_up_if_it_hangs() -> None:
    of = Watched()
    of.watch.poll(0.0)
    of.answers = False
    for now, lost, given_up in (
        (1.0, False, 0),
        (1.0 + PATIENCE_S - 0.1, False, 0),
        (1.0 + PATIENCE_S, True, 0),
        (1.0 + PATIENCE_S + REACT_WITHIN_S - 0.1, True, 0),
        (1.0 + PATIENCE_S + REACT_WITHIN_S, True, 1),
        (1.0 + PATIENCE_S + REACT_WITHIN_S + 1.0, True, 1),
    ):
        of.watch.poll(now)
        assert (of.watch.lost, of.given_up) == (lost, given_up)


def test_one_that_answers_again_in_time_is_not_lost() -> None:
    of = Watched()
    for now in range(0, 600, 10):
        of.answers = now % 20 == 0
        of.watch.poll(float(now))
    assert not of.watch.lost


def test_a_cluster_that_is_lost_stays_so() -> None:
    of = Watched()
    of.answers = False
    of.watch.poll(0.0)
    of.watch.poll(PATIENCE_S)
    of.answers = True
    of.watch.poll(PATIENCE_S + 1.0)
    assert of.watch.lost


def test_a_process_that_was_suspended_does_not_take_that_for_silence() -> None:
    of = Watched()
    of.watch.poll(0.0)
    of.answers = False
    of.watch.poll(3600.0)
    assert not of.watch.lost


def test_a_sweep_that_ends_by_itself_is_not_ended_again() -> None:
    of = Watched()
    of.answers = False
    of.watch.poll(0.0)
    of.watch.poll(PATIENCE_S)
    of.watch.stop()
    of.watch.poll(PATIENCE_S + REACT_WITHIN_S)
    assert of.watch.lost
    assert not of.given_up


def test_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.liveness.POLL_INTERVAL_S", 0.01)
    looked = threading.Event()
    watch = Watch(lambda: bool(looked.set()) or True, lambda: None)
    watch.begin()
    assert looked.wait(30.0)
    watch.stop()
    assert not watch.lost


def test_every_address_must_take_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        up, down = server.getsockname(), closed.getsockname()
        assert listens([up])
        assert not listens([up, down])
