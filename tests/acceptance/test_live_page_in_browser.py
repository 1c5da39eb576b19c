"""The live page in a real browser, as wide as a telephone and a desktop, while its sweeps grow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import recorded
import reports
import uvicorn
from browsers import DESK, SMALL, luminance
from filelock import FileLock
from live_records import append, report
from playwright.sync_api import expect
from recorded import Told, experiment, write

from trainables.run_folder import LAST_STATE
from tuning.cli.live.app import live_app
from tuning.cli.live.guard import Secrets
from tuning.cli.live.listening import listening_socket
from tuning.cli.live.sweeps import LiveSweeps
from tuning.experiment.space import config_hash
from tuning.ledger.driver_state import LOCK
from tuning.ledger.ledger import read_history
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import (
    BuiltRecord,
    ClosedRecord,
    EndedRecord,
    PausedRecord,
    StartedRecord,
    UnpausedRecord,
)
from tuning.ledger.requests import read_request, requests_in
from tuning.ledger.storage import trial_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
"""The timeout includes the installation of Chromium."""

WAIT_MS = 300_000
PARAMS = {"adapter": "lora", "freezing": "frozen", "learning_rate": 0.0077, "lora.rank": 8}
Open = Callable[..., Any]


def sweep(folder: Path) -> Path:
    """24 trials, of which two were lost, and two that run."""
    trials = reports.told(22)
    trials.append(Told(trials[0].params, (0.2,), Outcome.FAILED, reports.HOSTILE))
    trials.append(Told(trials[1].params, (0.2,), Outcome.DIVERGED, "the loss is not finite"))
    trials += [Told(told.params, told.curve[:2], None, lanes=2) for told in reports.told(2, seed=90)]
    asha = {"asha": {"grace_epochs": 1, "reduction_factor": 3}}
    asked = experiment(folder.name, trials=40, scheduler=asha)
    return write(folder, trials, of=asked, closed=None, floors=recorded.FLOORS)


@contextmanager
def server(
    folders: list[Path], *, port: int = 0, read_only: bool = False
) -> Iterator[tuple[str, uvicorn.Server]]:
    """The address of the page, and its server."""
    with listening_socket("127.0.0.1", port) as listening:
        secrets = Secrets(listening.getsockname()[1])
        app = live_app(
            LiveSweeps(folders), secrets, host="127.0.0.1", read_only=read_only,
            ending=lambda: bool(running.should_exit),
        )  # fmt: skip
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{secrets.port}/?token={secrets.token}", running
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A sweep that a driver runs."""
    found = sweep(tmp_path / "nuclei")
    with FileLock(found / LOCK):
        yield found


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens an address; `heard` of the tab has its requests elsewhere, its messages and errors."""
    contexts = []

    def opened(address: str, size: tuple[int, int] = DESK, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(WAIT_MS)
        tab.heard = []
        home = address.partition("?")[0]
        tab.on("console", lambda message: tab.heard.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: tab.heard.append(f"error: {error}"))
        tab.on("request", lambda asked: None if asked.url.startswith(home) else tab.heard.append(asked.url))
        tab.goto(address, wait_until="domcontentloaded")
        tab.wait_for_selector(".curve")
        return tab

    yield opened
    for context in contexts:
        context.close()


def cell(tab: Any, trial: int, column: int) -> Any:
    return tab.locator(f"[data-at=trials] tr[data-trial='{trial}'] td").nth(column)


def focused(tab: Any) -> str:
    """The name of the element with the focus."""
    return str(
        tab.evaluate(
            "(e => e.getAttribute('aria-label') || e.dataset.at || e.textContent.trim() || e.tagName)"
            "(document.activeElement)"
        )
    )


def tab_to(tab: Any, name: str) -> None:
    """Press Tab until an element has the focus; it must show it."""
    for _ in range(120):
        tab.keyboard.press("Tab")
        if focused(tab) == name:
            outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", name
            return
    pytest.fail(f"Tab does not reach {name}")


# --- what it looks like -----------------------------------------------------------------------


@pytest.mark.parametrize(("size", "scheme"), [(SMALL, "light"), (DESK, "dark")])
def test_it_fits_the_screen_and_asks_nobody_else(
    folder: Path, open_page: Open, size: tuple[int, int], scheme: str
) -> None:
    with server([folder]) as (address, _):
        tab = open_page(address, size, scheme)
        tab.wait_for_selector("[data-section=cost] dl")  # the sections come last
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert "token" not in tab.url
        left, width, height = tab.evaluate(
            "(b => [b.left, b.width, b.height])(document.querySelector('.plot svg').getBoundingClientRect())"
        )
        assert left >= 0
        assert size[0] * 0.6 <= width <= size[0]
        assert height >= 200
        small = tab.evaluate(
            "[...document.querySelectorAll('main *')]"
            ".filter(e => !e.closest('.drawing') && e.textContent.trim())"
            ".map(e => parseFloat(getComputedStyle(e).fontSize)).reduce((a, b) => Math.min(a, b))"
        )
        assert small >= 12
        ground = luminance(
            tab.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
        )
        assert (ground < 0.1) is (scheme == "dark")
        for where in (".soft", "td", ".note", "button:not(:disabled)"):
            text = luminance(tab.evaluate(f"getComputedStyle(document.querySelector('{where}')).color"))
            assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5, where
        tab.locator("[data-at=trials] td button").first.click()
        tab.get_by_role("button", name="Copy with changes").click()
        assert tab.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog'))")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.heard == []


def test_adapters_differ_in_colour_and_in_marker(folder: Path, open_page: Open) -> None:
    with server([folder]) as (address, _):
        tab = open_page(address)
        entries = tab.evaluate(
            "[...document.querySelectorAll('.legend li')].map(e => [e.textContent,"
            " getComputedStyle(e.querySelector('line')).stroke, e.querySelector('path')?.getAttribute('d'),"
            " getComputedStyle(e.querySelector('line')).strokeDasharray])"
        )
    drawn = {
        name: (colour, marker)
        for name, colour, marker, _ in entries
        if name in ("none", "lora", "serial_lora")
    }
    assert len(drawn) == 3
    assert len({colour for colour, _ in drawn.values()}) == 3
    assert len({marker for _, marker in drawn.values()}) == 3
    assert drawn["lora"][0] == "rgb(0, 114, 178)"  # Okabe and Ito's blue, as in the report
    dashes = [dash for name, _, _, dash in entries if name not in drawn]
    assert len(dashes) == len(set(dashes)) == 4  # backbone trains, rung, baseline, constant predictor


@pytest.mark.parametrize(("size", "beside"), [(DESK, True), (SMALL, False)])
def test_several_sweeps_side_by_side_or_below_each_other(
    folder: Path, open_page: Open, size: tuple[int, int], beside: bool
) -> None:
    other = sweep(folder.with_name("pets"))
    with server([folder, other]) as (address, _):
        tab = open_page(address, size)
        tab.wait_for_selector("#sweep-1 [data-section=cost] dl")
        first, second = (tab.locator(f"#sweep-{n}").bounding_box() for n in (0, 1))
        assert (abs(first["y"] - second["y"]) < 5) is beside
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.evaluate(
            "(all => all.length === new Set(all).size)([...document.querySelectorAll('[id]')].map(e => e.id))"
        )
        expect(tab.locator("#overview-0")).to_contain_text("running")
        expect(tab.locator("#overview-1")).to_contain_text("died")
        tab.get_by_role("link", name="pets").click()
        assert tab.evaluate("location.hash") == "#sweep-1"


# --- what it does -----------------------------------------------------------------------------


def test_what_comes_appears_without_a_reload_and_the_focus_stays(
    folder: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.cli.live.sweep.SECTIONS_S", 0.5)
    monkeypatch.setattr("tuning.cli.live.sweep.SECTIONS_SHARE", 1)
    with server([folder]) as (address, _):
        tab = open_page(address)
        tab.evaluate("window.same = true")
        expect(cell(tab, 24, 1)).to_have_text("running")
        tab.locator("[data-at=trials] [aria-label='trial 24']").focus()
        append(folder, report(24, 3.0, 0.9912))
        expect(cell(tab, 24, 2)).to_have_text("0.9912", timeout=WAIT_MS)
        expect(tab.locator("[data-at=trials] tbody tr").first).to_have_attribute("data-trial", "24")
        assert focused(tab) == "trial 24"
        expect(tab.locator(".plot text", has_text="best: trial 24")).to_be_visible()
        append(
            folder,
            StartedRecord(trial=26, params=PARAMS, hash=config_hash(PARAMS)),
            BuiltRecord(trial=26, parameters={"adapter": 1}, worker="node7:4242"),
            report(26, 1.0, 0.5),
        )
        expect(cell(tab, 26, 1)).to_have_text("running", timeout=WAIT_MS)
        expect(tab.locator("[data-at=running]")).to_contain_text("node7, process 4242")
        append(folder, EndedRecord(trial=26, outcome=Outcome.FAILED, reason="<b>out of memory</b>"))
        expect(tab.locator("[data-section=failures]")).to_contain_text(
            "<b>out of memory</b>", timeout=WAIT_MS
        )
        append(folder, ClosedRecord(reason=Ending.FINISHED))
        expect(tab.locator("[data-at=state]")).to_have_text("finished", timeout=WAIT_MS)
        expect(tab.get_by_role("button", name="Stop the sweep")).to_be_disabled()
        assert tab.evaluate("window.same")
        assert tab.heard == []


def test_filter_and_sort(folder: Path, open_page: Open) -> None:
    with server([folder]) as (address, _):
        tab = open_page(address)
        count, rows = tab.locator("[data-at=count]"), tab.locator("[data-at=trials] tbody tr")
        expect(count).to_have_text("26 of 26 trials")
        tab.get_by_label("Filter").fill("rank>=8 adapter=lora")
        shown = rows.count()
        assert 0 < shown < 26
        expect(count).to_have_text(f"{shown} of 26 trials")
        assert tab.locator(".curve").count() == shown
        tab.get_by_label("Filter").fill("")
        tab.get_by_label("State").select_option("diverged")
        expect(count).to_have_text("1 of 26 trials")
        tab.get_by_label("State").select_option("")
        rates = (
            "[...document.querySelectorAll('[data-at=trials] tbody tr')]"
            ".map(row => Number(row.cells[6].textContent))"
        )
        for again, direction in enumerate(("ascending", "descending")):
            tab.get_by_role("button", name="learning_rate").press("Enter" if again else " ")
            head = tab.get_by_role("columnheader", name="learning_rate")
            expect(head).to_have_attribute("aria-sort", direction)
            assert tab.evaluate(rates) == sorted(tab.evaluate(rates), reverse=direction == "descending")


def test_a_trial_is_copied_and_stopped_with_the_keyboard_alone(folder: Path, open_page: Open) -> None:
    with server([folder]) as (address, _):
        tab = open_page(address)
        order = ["Add a configuration", "Stop the sweep", "trial 24", "filter", "states"]
        for name in order:
            tab_to(tab, name)
        tab_to(tab, "trial 25")
        tab.keyboard.press("Enter")
        dialog = tab.get_by_role("dialog")
        expect(dialog).to_contain_text("Trial 25 of nuclei")
        tab_to(tab, "Copy with changes")
        tab.keyboard.press(" ")
        rate = dialog.get_by_label("learning_rate")
        rate.focus()
        tab.keyboard.press("Control+a")
        tab.keyboard.type("7")
        tab.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("learning_rate", timeout=WAIT_MS)
        assert requests_in(folder) == []
        rate.focus()
        tab.keyboard.press("Control+a")
        tab.keyboard.type("0.00512")
        tab.keyboard.press("Enter")
        expect(dialog.get_by_role("status")).to_contain_text("asked nuclei to try it next", timeout=WAIT_MS)
        (path,) = requests_in(folder)
        assert (read_request(path).of, read_request(path).params["learning_rate"]) == (25, 0.00512)
        tab.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()
        assert focused(tab) == "trial 25"
        tab.keyboard.press("Enter")
        tab_to(tab, "Stop this trial")
        tab.keyboard.press("Enter")
        expect(dialog.get_by_role("button", name="Stop this trial")).to_be_focused()
        assert not (folder / "control" / "stop-25").exists()  # it is asked for only here
        tab.keyboard.press("Enter")
        expect(dialog.get_by_role("status")).to_contain_text(
            "asked trial 25 of nuclei to stop", timeout=WAIT_MS
        )
        assert (folder / "control" / "stop-25").exists()


def test_a_configuration_of_ones_own(folder: Path, open_page: Open) -> None:
    with server([folder]) as (address, _):
        tab = open_page(address, SMALL)
        tab.get_by_role("button", name="Add a configuration").click()
        dialog = tab.get_by_role("dialog")
        dialog.get_by_label("adapter").select_option("none")
        dialog.get_by_label("freezing").select_option("full")
        dialog.get_by_label("learning_rate").fill("2e-3")
        dialog.get_by_role("button", name="Add a configuration").click()
        expect(dialog.get_by_role("status")).to_contain_text("asked nuclei to try it next", timeout=WAIT_MS)
        (path,) = requests_in(folder)
        assert read_request(path).params == {"adapter": "none", "freezing": "full", "learning_rate": 2e-3}


def test_a_trial_is_trained_longer(folder: Path, open_page: Open) -> None:
    number = next(n for n, told in enumerate(reports.told(22)) if told.outcome is Outcome.COMPLETED)
    trial_folder(folder, number).mkdir(parents=True)
    (trial_folder(folder, number) / LAST_STATE).touch()
    with server([folder]) as (address, _):
        tab = open_page(address)
        tab.locator(f"[data-at=trials] [aria-label='trial {number}']").click()
        dialog = tab.get_by_role("dialog")
        dialog.get_by_role("button", name="Train it longer").click()
        expect(dialog.get_by_label("epochs")).to_have_value("12")
        dialog.get_by_label("epochs").fill("20")
        dialog.get_by_role("button", name="Train it longer").click()
        expect(dialog.get_by_role("status")).to_contain_text(
            "to epoch 20, as one more trial", timeout=WAIT_MS
        )
        (path,) = requests_in(folder)
        assert path.name.startswith("extend-")


def test_read_only_offers_nothing(folder: Path, open_page: Open) -> None:
    with server([folder], read_only=True) as (address, _):
        tab = open_page(address)
        expect(tab.locator("header")).to_contain_text("Read-only")
        tab.locator("[data-at=trials] td button").first.click()
        assert tab.get_by_role("dialog").get_by_role("button").all_inner_texts() == ["Close"]
        assert tab.locator("[data-at=actions] button").count() == 0


def test_a_server_that_ends_is_said(folder: Path, open_page: Open) -> None:
    with server([folder]) as (address, running):
        tab = open_page(address)
        expect(tab.locator("#link")).to_have_text("Live.")
        running.should_exit = True
        expect(tab.locator("#link")).to_contain_text("The connection is lost", timeout=WAIT_MS)
        assert tab.locator(".curve").count() > 0
    with server([folder], port=urlsplit(address).port or 0):  # with another token
        expect(tab.locator("#link")).to_contain_text("The server of this page has ended", timeout=WAIT_MS)


def test_a_sweep_is_paused_and_goes_on(folder: Path, open_page: Open) -> None:
    with server([folder]) as (address, _):
        tab = open_page(address)
        pause, on = (
            tab.get_by_role("button", name=name) for name in ("Pause the sweep", "Let the sweep go on")
        )
        expect(on).to_have_count(0)
        pause.click()
        tab.get_by_role("dialog").get_by_role("button", name="Pause the sweep").click()
        expect(tab.get_by_role("dialog").get_by_role("status")).to_contain_text("asked nuclei to pause")
        tab.keyboard.press("Escape")
        last = read_history(folder).trials[24].reports[-1]
        ended = EndedRecord(trial=24, outcome=Outcome.PAUSED, value=last.objective, epoch=last.epoch)
        append(folder, PausedRecord(trial=None, asked=1.0), ended)
        expect(tab.locator("[data-at=state]")).to_have_text("paused", timeout=WAIT_MS)
        expect(cell(tab, 24, 1)).to_have_text("paused")
        expect(on).to_be_enabled()
        expect(pause).to_have_count(0)
        append(folder, UnpausedRecord(trial=None, asked=2.0))
        expect(tab.locator("[data-at=state]")).to_have_text("running", timeout=WAIT_MS)
