"""The report as a page, as Markdown and as figures: self-contained, escaped, the same for the same record."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from recorded import LORA, Told, write
from reports import HOSTILE
from typer.testing import CliRunner, Result

from analysis.report.document import (
    Absent,
    Block,
    Figure,
    Gallery,
    GalleryImage,
    ReportDocument,
    Section,
    Text,
)
from analysis.report.figures import draw_figure
from analysis.report.html import render_page
from analysis.report.markdown import report_markdown
from analysis.report.plots import Bars, Curve, Curves
from analysis.report.svg import Drawn
from analysis.report.write import save_report, write_report
from analysis.tables import Table
from trainables.errors import StorageError
from tuning.cli.app import app

VOID = {"meta", "link", "img", "path", "use", "image", "stop", "rect", "circle"}


class Page(HTMLParser):
    """The parts of a page that tests check."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.figures: list[dict[str, str | None]] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if (own := held.get("id")) is not None:
            self.ids.append(own)
        for key in ("href", "xlink:href", "src"):
            if (target := held.get(key)) is not None:
                self.links.append(target)
        if tag == "svg":
            self.figures.append(held)
        if tag == "img":
            self.images.append(held)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def written(report: ReportDocument, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_report(report, tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def html(written: Path) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


def held(*blocks: Block, title: str = "t") -> ReportDocument:
    return ReportDocument(title, "s", (), (Section("a", "A", blocks),), "f")


# --- the page ---------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_else(html: str) -> None:
    found = Page(html)
    assert found.open == []
    assert "script" not in found.tags
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert re.findall(r"@import|url\((?!#)", html) == []
    assert "default-src 'none'" in html


def test_its_ids_are_unique_and_every_link_has_a_target(html: str) -> None:
    found = Page(html)
    assert len(found.ids) == len(set(found.ids))
    missing = {link[1:] for link in found.links if link.startswith("#")} - set(found.ids)
    assert missing == set()
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(found.ids)


def test_a_screen_reader_can_read_it(html: str) -> None:
    found = Page(html)
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>digits – report</title>" in html
    assert 'name="viewport"' in html
    assert found.tags.count("h1") == 1
    assert found.figures
    assert all(svg.get("role") == "img" and len(svg.get("aria-label") or "") > 30 for svg in found.figures)
    assert all(image.get("alt") for image in found.images)
    assert found.tags.count("th") == html.count('<th scope="col"')


def test_text_from_the_record_is_escaped(html: str) -> None:
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "in domain, a&lt;b&gt;.png" in html
    text = render_page(held(Text(HOSTILE), title=HOSTILE), {})
    assert "script" not in Page(text).tags
    assert "<code>a</code>" in text


def test_it_is_small_enough_to_send(html: str) -> None:
    assert len(html.encode("utf-8")) < 2_000_000


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = write(tmp_path / "digits")
    one, other = (write_report(folder, tmp_path / name).parent for name in ("one", "other"))
    files = [path for path in sorted(one.rglob("*")) if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert (other / path.relative_to(one)).read_bytes() == path.read_bytes(), path.name


def test_a_wide_table_scrolls_in_its_own_box(html: str) -> None:
    assert html.count("<table>") == html.count('<div class="scroll" role="region" tabindex="0"')


# --- figures ----------------------------------------------------------------------------------


def test_every_figure_is_written_as_png_and_svg(written: Path, html: str) -> None:
    names = {path.stem for path in (written / "figures").glob("*.png")}
    assert names == {path.stem for path in (written / "figures").glob("*.svg")}
    assert names == set(re.findall(r'id="figure-([^"]*)"', html))
    for path in (written / "figures").glob("*.png"):
        with Image.open(path) as image:
            assert image.width == 1000
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20
    for path in (written / "figures").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag.endswith("svg")
        assert "currentColor" not in path.read_text(encoding="utf-8")  # as a file it has no page


def drawn(curve: Curve) -> Drawn:
    plot = Curves(HOSTILE, (curve,), curve.trial, (1.0, 0.5), (1.0,), 0.1)
    return draw_figure(Figure("curves", "t", HOSTILE, "c", plot))


def test_any_name_can_be_drawn_and_is_escaped() -> None:
    found = drawn(Curve(3, "$\\frac{$", True, ((1.0, 0.5), (2.0, float("1e-300")))))
    root = ElementTree.fromstring(found.inline.replace("xlink:href", "href"))
    assert root.get("aria-label") == HOSTILE
    assert "<script" not in found.inline


def test_drawings_on_one_page_do_not_share_ids() -> None:
    bars = Bars("share", (("a", 0.6, True), ("b", 0.4, False)))
    one, other = (draw_figure(Figure(name, "t", "alt", "c", bars)).inline for name in ("one", "other"))
    names = [set(re.findall(r'\bid="([^"]*)"', text)) for text in (one, other)]
    assert names[0]
    assert not names[0] & names[1]
    assert "var(--card)" not in one or "currentColor" in one
    assert "width=" not in one.split(">")[0]


# --- Markdown ---------------------------------------------------------------------------------


def test_markdown_has_the_same_sections_and_its_images_exist(
    report: ReportDocument, written: Path, html: str
) -> None:
    text = report_markdown(report, "figures")
    pictures = re.findall(r"^!\[.*?\]\((figures/[^)]*)\)", text, re.MULTILINE)
    assert len(pictures) == html.count("<svg ") + html.count("<img ")
    assert all((written / path).is_file() for path in pictures if path.endswith(".png"))
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == re.findall(r"^- \[(.*)\]\(#", text, re.MULTILINE)
    assert titles == re.findall(r"<h2 [^>]*><a [^>]*>(.*?)</a>", html)


def test_stored_images_are_copied_for_markdown(tmp_path: Path) -> None:
    pictures = Gallery((GalleryImage("example-0.jpg", "image/jpeg", b"bytes", "alt", "c"),), "all")
    text = save_report(held(pictures), tmp_path, as_markdown=True).read_text(encoding="utf-8")
    assert "![alt](figures/example-0.jpg)" in text
    assert (tmp_path / "figures" / "example-0.jpg").read_bytes() == b"bytes"


def test_text_from_the_record_is_escaped_in_markdown_too() -> None:
    rows = (("a|b", "<b>x</b>", "*y*\nz", "lora_rank _q_"),)
    text = report_markdown(
        held(Text("[x](http://y)"), Table("T", ("1", "2", "3", "4"), rows), Absent("no")), "figures"
    )
    assert "\\[x\\](http://y)" in text
    assert "| a\\|b | \\<b\\>x\\</b\\> | \\*y\\* z | lora_rank \\_q\\_ |" in text
    assert "_no_" in text


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def command(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--storage", str(tmp_path)])

    return command


def test_the_command_prints_the_path_of_the_report(run: Callable[..., Result], tmp_path: Path) -> None:
    folder = write(tmp_path / "young", (Told(LORA, (0.5,), None),), closed=None)
    done = run("report", "young")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(folder / "report" / "report.html")
    done = run("report", "young", "--to", str(tmp_path / "there"), "--format", "markdown")
    assert Path(done.stdout.strip()).read_text(encoding="utf-8").startswith("# young")
    assert (tmp_path / "there" / "figures" / "curves.svg").is_file()


def test_what_cannot_be_reported_is_an_error_with_a_hint(run: Callable[..., Result], tmp_path: Path) -> None:
    write(tmp_path / "young", ())
    (tmp_path / "file").write_text("", encoding="utf-8")
    for arguments, said in (
        (("report", "nosuch"), "no experiment 'nosuch'"),
        (("report", "young:3"), "report takes an experiment, not one of its trials"),
        (("report", "young", "--to", str(tmp_path / "file")), "name another folder with --to"),
        (("report", "young", "--to", str(tmp_path / "file" / "below")), "name another folder with --to"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2
        assert said in done.output


def test_a_path_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "young", ())
    (folder / "report" / "report.html").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write a report in .*; name another folder with --to"):
        write_report(folder)


def test_a_report_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    folder = write(tmp_path / "young", (Told(LORA, (0.5, 0.6)),))
    program = (
        "import sys; from pathlib import Path; from analysis.report.write import write_report;"
        f"write_report(Path({str(folder)!r})); print([n for n in ('torch', 'ray') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
