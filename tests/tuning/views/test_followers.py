"""Views in their threads: the records they get, and views that fail, hang or fall behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import recorded

from trainables.errors import StorageError
from tuning.experiment.sections.views import ViewsSpec, url_error
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger, read_history, read_records
from tuning.ledger.outcomes import Ending
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import ClosedRecord, Record, StartedRecord
from tuning.views.followers import Views
from tuning.views.registry import views_of
from tuning.views.view import View


class Noted(View):
    """Keeps all records; fails or waits on request."""

    title = "the notes"

    def __init__(self, *, fails: str = "", waits: threading.Event | None = None) -> None:
        self.seen: list[Record] = []
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.trials = -1
        self.called, self.settled = threading.Event(), threading.Event()
        self._fails, self._waits = fails, waits

    def abandon(self) -> None:
        self._called("abandon")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.get_ident())
        if self._fails == name:
            raise OSError(28, "No space left on device")

    def begin(self, history: History) -> None:
        self.trials = len(history.trials)
        self._called("begin")

    def observe(self, record: Record) -> None:
        self.called.set()
        if self._waits is not None:
            self._waits.wait(30)
        self.seen.append(record)
        self._called("observe")

    def settle(self) -> None:
        self._called("settle")
        self.settled.set()

    def close(self) -> None:
        self._called("close")


class Slow(Noted):
    """Waits as it begins."""

    def begin(self, history: History) -> None:
        self._called("begin")
        self.called.set()
        assert self._waits is not None
        self._waits.wait(30)


STARTED = StartedRecord(trial=99, params={}, hash="0")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return read_history(recorded.write(tmp_path_factory.mktemp("views") / "digits"))


@pytest.fixture
def said() -> list[str]:
    return []


def records(number: int) -> list[Record]:
    return [ClosedRecord(time=float(i), reason=Ending.FINISHED) for i in range(number)]


def test_a_view_gets_the_history_then_each_record_in_order_in_a_thread_of_its_own(
    history: History, said: list[str]
) -> None:
    one, other = Noted(), Noted()
    told = records(50)
    with Views([one, other], history, say=said.append) as views:
        for record in told:
            views.put(record)
    for view in (one, other):
        assert view.trials == len(history.trials)
        assert view.seen == told
        assert view.calls[0] == "begin"
        assert view.calls[-1] == "close"
        assert "settle" in view.calls
        assert len(view.threads) == 1
    assert one.threads.isdisjoint(other.threads | {threading.get_ident()})
    assert not said


@pytest.mark.parametrize("moment", ["begin", "observe", "settle", "close"])
def test_one_that_fails_is_said_once_and_the_others_go_on(
    history: History, said: list[str], moment: str
) -> None:
    bad, good = Noted(fails=moment), Noted()
    told = records(30)
    with Views([bad, good], history, say=said.append) as views:
        for record in told:
            views.put(record)
            time.sleep(0.001)
    assert good.seen == told
    assert bad.calls[-1] == "close"
    assert said == [
        "cannot update the notes: OSError: [Errno 28] No space left on device. The sweep continues without"
        " this view; nothing is lost: the record is complete, and the next `adaptertune resume` brings the"
        " view up to date"
    ]


def test_a_message_of_ours_is_said_as_it_is(history: History, said: list[str]) -> None:
    class Refusing(Noted):
        def begin(self, history: History) -> None:
            raise StorageError("it is another's")

    with Views([Refusing()], history, say=said.append):
        pass
    assert said[0].startswith("cannot update the notes: it is another's. The sweep continues")


def test_leaving_is_bounded_where_a_view_hangs(history: History, said: list[str]) -> None:
    waits = threading.Event()
    hanging, good = Noted(waits=waits), Noted()
    with Views([hanging, good], history, say=said.append, closing_s=0.3) as views:
        views.put(records(1)[0])
    waits.set()  # leaving has not waited for it
    assert len(good.seen) == 1
    assert len(said) == 1
    assert said[0].startswith("cannot bring the notes up to date within 0.3 s")


def test_one_that_falls_far_behind_is_let_go_and_not_waited_for(history: History, said: list[str]) -> None:
    waits = threading.Event()
    slow = Noted(waits=waits)
    with Views([slow], history, say=said.append, backlog=10) as views:
        for record in records(40):
            views.put(record)
    waits.set()  # leaving has not waited for it
    assert len(said) == 1
    assert "it is 10 records behind" in said[0]


def test_abandoned_views_write_nothing_of_what_is_queued(history: History, said: list[str]) -> None:
    """One has begun, one is in the middle of a record, and one has settled."""
    waits = threading.Event()
    beginning, busy, idle = Slow(waits=waits), Noted(waits=waits), Noted()
    views = Views([beginning, busy, idle], history, say=said.append)
    first, *later = records(4)
    views.put(STARTED)
    idle.settled.wait()
    for view in (beginning, busy):
        view.called.wait()
    for record in (first, *later):
        for follower in views._followers[:2]:
            follower.put(record)
    views.abandon()
    waits.set()
    for follower in views._followers:
        follower._thread.join()
    assert beginning.calls == ["begin", "abandon"]
    assert busy.calls == ["begin", "observe", "abandon"]
    assert idle.calls == ["begin", "observe", "settle", "abandon"]
    assert not said


def test_views_that_are_abandoned_before_the_first_trial_never_begin(
    history: History, said: list[str]
) -> None:
    view = Noted()
    views = Views([view], history, say=said.append)
    views.abandon()
    views.put(STARTED)
    assert not views._followers[0]._thread.is_alive()
    assert view.calls == []


def test_a_view_that_fails_once_it_is_abandoned_is_not_said(history: History, said: list[str]) -> None:
    waits = threading.Event()
    view = Noted(fails="observe", waits=waits)
    views = Views([view], history, say=said.append)
    views.put(STARTED)
    view.called.wait()
    views.abandon()
    waits.set()
    views._followers[0]._thread.join()
    assert view.calls == ["begin", "observe", "abandon"]
    assert not said


def test_views_do_not_share_their_history(history: History, said: list[str]) -> None:
    class Emptying(Noted):
        def begin(self, history: History) -> None:
            super().begin(history)
            history.trials.clear()

    views = [Emptying(), Emptying()]
    with Views(views, history, say=said.append):
        pass
    assert [view.trials for view in views] == [len(history.trials)] * 2
    assert history.trials


def test_a_sweep_tells_every_listener_once_the_record_is_written(tmp_path: Path) -> None:
    folder = recorded.write(tmp_path / "digits", closed=None)
    heard: list[tuple[str, int]] = []

    def listener(name: str) -> None:
        sweep.listen(lambda record: heard.append((name, len(list(read_records(folder))))))

    with Ledger.open(folder) as ledger:
        sweep = Recorder(ledger, read_history(folder))
        listener("a")
        listener("b")
        sweep.record(ClosedRecord(reason=Ending.FINISHED))
    lines = len(list(read_records(folder)))
    assert heard == [("a", lines), ("b", lines)]


def test_an_experiment_has_the_views_it_asks_for(history: History, tmp_path: Path) -> None:
    def titles(**asked: object) -> list[str]:
        spec = ViewsSpec.model_validate(asked)
        given = recorded.experiment().model_copy(update={"views": spec})
        return [view.title for view in views_of(given, tmp_path, history.header)]

    always = titles(optuna="none")
    assert titles() == [*always, "the Optuna journal"]
    assert titles(optuna="journal", tensorboard=True) == [*always, "the Optuna journal", "TensorBoard"]
    assert titles(optuna="sqlite:////nowhere/x.db") == [
        *always,
        "the Optuna study at sqlite:////nowhere/x.db",
    ]


def test_a_missing_package_is_said_before_work_starts(history: History, tmp_path: Path) -> None:
    given = recorded.experiment()
    for url, way in (("mysql+nosuchdriver://h/x", "install the package"), ("oracle://h/x", "oracledb")):
        asked = given.model_copy(update={"views": ViewsSpec(optuna=url)})
        with pytest.raises(StorageError, match="needs a package that is missing") as raised:
            views_of(asked, tmp_path, history.header)
        assert way in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob:hush@db/x",
        "postgresql://bob:47/hush@db/x",
        "postgresql://bob:12?hush@db/x",
        "postgresql://db/x?sslpassword=hush",
        "mysql://db/x?API_TOKEN=hush",
        "mssql+pyodbc:///?odbc_connect=Driver%3Dx%3BServer%3Ddb%3BPWD%3Dhush",
    ],
)
def test_secrets_in_a_database_url_are_refused_and_not_repeated(url: str) -> None:
    error = str(url_error(url))
    assert "contains a password" in error
    assert "hush" not in error


@pytest.mark.parametrize("url", ["bob:hush@db/x", "mongodb://bob:hush@db/x", "postgresql://[hush/x"])
def test_what_is_no_url_is_not_repeated_either(url: str) -> None:
    error = str(url_error(url))
    assert error
    assert "hush" not in error


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob@db:5432/x?sslmode=require&sslkey=/etc/key.pem",
        "mssql+pyodbc:///?odbc_connect=Driver%3Dx%3BServer%3Dturkey%3BTrusted_Connection%3Dyes",
    ],
)
def test_a_url_without_a_secret_is_taken(url: str) -> None:
    assert url_error(url) is None
