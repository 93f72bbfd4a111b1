"""An alignment by somebody who never opens a terminal: its form, its stages, its artifacts, its review, its verdict."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.cockpit import Stage

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]

NAME, SEED = "by-hand", 3
SOON_MS, STAGE_MS = 30_000, 400_000
PICTURES = os.environ.get("CHARTER_TEST_PICTURES")
"""A folder for screenshots; without one none are taken."""


@pytest.fixture
def page(chromium: Browser, stage: Stage) -> Iterator[Page]:
    """The UI after the login."""
    context = chromium.new_context(viewport={"width": 1360, "height": 900}, base_url=f"http://127.0.0.1:{stage.port}")
    context.set_default_timeout(SOON_MS)
    page = context.new_page()
    page.goto("/deployments")
    page.get_by_placeholder("admin:pass").fill(stage.cockpit.login)
    page.get_by_role("button", name="Login").click()
    page.wait_for_url(lambda url: "/login" not in url)
    yield page
    context.close()


def test_a_run_from_its_form_to_its_verdict(page: Page, stage: Stage) -> None:
    folder = stage.home.parent / "outputs" / NAME
    run = start_from_the_form(page)
    expect(state(page)).to_have_text("Running", timeout=60_000)
    shoot(page, "run")

    expect(state(page)).to_have_text("Suspended", timeout=STAGE_MS)
    assert not (folder / "manifest.json").exists()
    pairs, served = pairs_of(folder), (folder / "logs" / "vllm-base.log").stat().st_mtime_ns
    named = artifact(page, "review").locator("code", has_text=re.compile(f"^({'|'.join(pairs)})$"))
    expect(named).to_have_count(6)
    dropped = named.first.inner_text()
    shoot(page, "review")
    for stage_name in ("respond", "revise", "judge"):
        expect(artifact(page, f"progress-{stage_name}")).to_contain_text("Progress: 100%")

    page.goto(run)
    page.get_by_role("button", name="Resume").click()
    form = page.get_by_role("dialog")
    expect(form).to_contain_text("6 of")
    fill_in(form, dropped)
    shoot(page, "resume")
    form.get_by_role("button", name="Submit").click()
    expect(state(page)).to_have_text("Completed", timeout=STAGE_MS)
    shoot(page, "completed")

    assert pairs_of(folder) == pairs - {dropped}
    assert (folder / "logs" / "vllm-base.log").stat().st_mtime_ns == served  # nothing was computed again
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["review"]["done"]["dropped"] == 1
    assert f"seed: {SEED}" in (folder / "config.yaml").read_text().splitlines()
    assert "People (Ada) looked at 6 of" in (folder / "DATASET_CARD.md").read_text()
    verdict = json.loads((folder / "gate.json").read_text())["verdict"]
    expect(artifact(page, "verdict")).to_contain_text(f"Verdict: {verdict}")
    shoot(page, "verdict")
    for key in ("stages", "principles", "before-and-after"):
        expect(artifact(page, key)).to_contain_text(NAME)
        shoot(page, key)


def start_from_the_form(page: Page) -> str:
    """Fill in the form of `align` and submit it; the address of the run."""
    page.goto("/deployments")
    page.get_by_role("link", name="align", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    field(page, "Name (Optional)").locator("textarea").fill(NAME)
    field(page, "Seed (Optional)").locator("input").fill(str(SEED))
    shoot(page, "form")
    with page.expect_response(re.compile("create_flow_run$")) as created:
        page.get_by_role("button", name="Submit").click()
    run = f"/runs/flow-run/{created.value.json()['id']}"
    page.goto(run)
    return run


def fill_in(form: Locator, dropped: str) -> None:
    """The review: approved by Ada, without one pair."""
    field(form, "Approve").get_by_role("switch").click()
    field(form, "By (Optional)").locator("textarea").fill("Ada")
    drop = field(form, "Drop (Optional)")
    drop.get_by_role("button", name="Add item").click()
    drop.locator("textarea").fill(dropped)


def field(form: Page | Locator, title: str) -> Locator:
    """The first field with this title, with what belongs to it."""
    label = f"label[.//span[normalize-space()='{title}']]"
    return form.locator(f"xpath=//{label}/ancestor::div[contains(@class, 'schema-form-property')][1]").first


def artifact(page: Page, key: str) -> Locator:
    """The page of the latest artifact that is called so."""
    page.goto(f"/artifacts/key/{key}")
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.wait_for_url(re.compile("/artifacts/artifact/"))
    found = page.locator("body")
    expect(found).to_contain_text(key)
    return found


def state(page: Page) -> Locator:
    return page.locator(".state-badge").first


def pairs_of(folder: Path) -> set[str]:
    return set(pl.read_parquet(folder / "pairs" / "*.parquet")["pair_id"])


def shoot(page: Page, name: str) -> None:
    if PICTURES:
        page.wait_for_timeout(1500)  # what fades in has come
        page.screenshot(path=Path(PICTURES) / f"{name}.png")
