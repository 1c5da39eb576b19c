"""The report in a real browser, without a network: as wide as a telephone and a desktop, and printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import reports
from browsers import DESK, SMALL, TELEPHONE, luminance

from analysis.report.write import write_report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
"""The timeout includes the installation of Chromium."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(reports.rich(tmp_path_factory.mktemp("storage")))


def opened(browser: Any, path: Path, size: tuple[int, int], scheme: str = "light") -> tuple[Any, list[str]]:
    """The page at a size, and all requests, console messages and errors of the browser."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
    )
    tab = context.new_page()
    heard: list[str] = []
    tab.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: heard.append(f"error: {error}"))
    tab.on("request", lambda request: heard.append(request.url))
    tab.goto(path.as_uri())
    return tab, [entry for entry in heard if not entry.startswith("data:")]


@pytest.mark.parametrize("size", [TELEPHONE, SMALL, DESK])
def test_the_page_opens_without_a_request_and_fits_the_screen(
    browser: Any, page: Path, size: tuple[int, int], tmp_path: Path
) -> None:
    tab, heard = opened(browser, page, size)
    assert heard == [page.as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    boxes = tab.evaluate(
        "[...document.querySelectorAll('.drawing svg, .pictures img')].map(e => {"
        " const b = e.getBoundingClientRect(); return [e.tagName, b.left, b.right, b.width, b.height] })"
    )
    assert len(boxes) >= 10
    for tag, left, right, width, height in boxes:
        assert left >= 0, tag
        assert right <= size[0], tag
        assert min(width, height) >= 100, tag
        assert width >= 0.6 * min(size[0], 480), tag


def test_text_in_figures_can_be_read_on_a_telephone(browser: Any, page: Path) -> None:
    tab, _ = opened(browser, page, SMALL)
    # A figure is 360 points wide and its smallest letters 7.5: their height on the screen, in CSS pixels.
    width = tab.evaluate("document.querySelector('.drawing svg').getBoundingClientRect().width")
    assert 7.5 * width / 360 >= 6.5
    small = tab.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('svg') && e.textContent.trim())"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)).reduce((a, b) => Math.min(a, b))"
    )
    assert small >= 12


def test_every_link_of_the_contents_leads_to_a_visible_heading(browser: Any, page: Path) -> None:
    tab, _ = opened(browser, page, TELEPHONE)
    links = tab.locator("nav a")
    assert links.count() == 14
    for place in range(links.count()):
        links.nth(place).click()
        anchor = tab.evaluate("location.hash.slice(1)")
        assert tab.locator(f"#{anchor}-title").is_visible()


def test_dark_and_light_both_have_contrast(browser: Any, page: Path) -> None:
    for scheme in ("light", "dark"):
        tab, _ = opened(browser, page, DESK, scheme)
        ground, ink, soft = (
            luminance(tab.evaluate(f"getComputedStyle(document.querySelector('{where}')).{what}"))
            for where, what in (
                ("section", "backgroundColor"),
                ("section p", "color"),
                ("figcaption", "color"),
            )
        )
        assert (ground < 0.1) is (scheme == "dark")
        for text in (ink, soft):
            assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5


def test_it_can_be_printed(browser: Any, page: Path, tmp_path: Path) -> None:
    tab, _ = opened(browser, page, DESK, "dark")
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible()
    assert luminance(tab.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.9
    tab.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    wide = tab.evaluate(
        "[...document.querySelectorAll('.scroll')]"
        ".filter(e => getComputedStyle(e).overflowX !== 'visible').length"
    )
    assert wide == 0


def test_nothing_to_report_looks_like_a_page_too(browser: Any, tmp_path: Path) -> None:
    from recorded import write

    path = write_report(write(tmp_path / "empty", ()))
    tab, heard = opened(browser, path, TELEPHONE)
    assert heard == [path.as_uri()]
    assert tab.locator("section").count() == 14
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
