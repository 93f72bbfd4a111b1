"""The report in a real browser: nothing leaves it, it fits every screen, and everybody can read it."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from charter.report.page import render_report
from charter.views.compare.comparison import compare_folders
from charter.views.compare.page import render_comparison
from tests.support.complete_report import complete
from tests.support.html_page import hostile
from tests.support.judged_run import LAW, make_judged_run
from tests.support.report_sample import sample

VIEWS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1100, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1100, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}
GRAVE = {"serious", "critical"}


@contextmanager
def opened(browser: Browser, path: Path, **view: Any) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what happened in it that should not: requests, messages, errors, dialogs."""
    context = browser.new_context(**view)
    page, events = context.new_page(), list[str]()
    page.on("request", lambda request: events.append(f"request {request.url}"))
    page.on("console", lambda message: events.append(f"console {message.text}"))
    page.on("pageerror", lambda error: events.append(f"error {error}"))
    page.on("dialog", lambda dialog: (events.append(f"dialog {dialog.message}"), dialog.dismiss())[0])
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    events.remove(f"request {path.as_uri()}")
    try:
        yield page, events
    finally:
        context.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Everything that people open in a browser, with every part it can have."""
    folder = tmp_path_factory.mktemp("pages")
    edited = LAW.replace("No theft.", "No theft at all.")
    runs = [
        make_judged_run(folder / "runs", "first", sums=98),
        make_judged_run(
            folder / "runs", "second", harmful=10, facts=160, constitution=edited, weights="other", sums=90
        ),
    ]
    made = {
        "go": render_report(complete()),
        "no-go": render_report(complete("bound")),
        "bare": render_report(sample(audit={}, dissent={}, training={}, examples=[], failures=[])),
        "comparison": render_comparison(compare_folders(runs)),
    }
    for name, html in made.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


PAGES = ("go", "no-go", "bare", "comparison")


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_leaves_the_page_and_nothing_sticks_out(
    chromium: Browser, pages: dict[str, Path], name: str, view: str
) -> None:
    with opened(chromium, pages[name], **VIEWS[view]) as (page, events):
        wide, seen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= seen
        assert page.locator("h1").count() == 1
        assert page.locator("svg").count() > (1 if name == "comparison" else 2)
        assert events == []


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault(chromium: Browser, pages: dict[str, Path], name: str, view: str) -> None:
    with opened(chromium, pages[name], bypass_csp=True, **VIEWS[view]) as (page, _):  # axe styles what it looks at
        found = Axe().run(page).response
    assert len(found["passes"]) > 20
    grave = [one for one in found["violations"] if one["impact"] in GRAVE]
    assert [(one["id"], one["nodes"][0]["html"]) for one in grave] == []


def test_the_pages_that_are_looked_at_have_every_part(pages: dict[str, Path]) -> None:
    go, no_go = (pages[name].read_text() for name in ("go", "no-go"))
    assert "Verdict: go" in go and "Verdict: no-go" in no_go
    parts = ("verdict", "results", "further", "benchmarks", "kinds", "tradeoff", "rounds", "examples", "constitution")
    for part in (*parts, "labels", "training", "tokens", "rows", "lineage"):
        assert f'<section id="{part}">' in go, part
    for words in ("Group by group", "Better than the base", "Reviewed by people", "Dissent in the panel", "Like this"):
        assert words in go, words


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_it_prints_on_paper(chromium: Browser, pages: dict[str, Path], name: str) -> None:
    with opened(chromium, pages[name], **VIEWS["light"]) as (page, events):
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins, in CSS pixels
        wide, seen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= seen
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") in (
            "rgb(255, 255, 255)",
            "rgba(0, 0, 0, 0)",
        )
        assert page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF-")
        assert events == []


SCRIPTS = (
    "<script>document.title = 'taken over'</script>",
    "<img src=x onerror=\"document.title = 'taken over'\">",
    "</style></details></main><script>alert(1)</script><svg onload=alert(1)>",
)


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_hostile_text_does_nothing(chromium: Browser, tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_report(hostile(text)), encoding="utf-8")
    with opened(chromium, path) as (page, events):
        assert page.title() != "taken over"
        assert text in page.inner_text("body")  # it is there, as words
        assert events == []


@pytest.mark.slow
def test_an_answer_of_200_kilobytes_is_shown_in_part(chromium: Browser, tmp_path: Path) -> None:
    data, path = sample(), tmp_path / "report.html"
    long = "A very long answer indeed. " * 7_600
    examples = [dataclasses.replace(one, before=long, after=long) for one in data.examples]
    path.write_text(render_report(dataclasses.replace(data, examples=examples)), encoding="utf-8")
    assert path.stat().st_size < 1_000_000
    with opened(chromium, path, **VIEWS["narrow"]) as (page, events):
        assert "A very long answer indeed." in page.inner_text("body")
        wide, seen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= seen
        assert events == []
