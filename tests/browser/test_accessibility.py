"""Who can't see the page, or uses no mouse, can use it: checked by axe-core."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.support import Visit, visiting


@cache
def axe() -> str:
    """Return axe-core, as the package of its name for Playwright brings it."""
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def violations(page: Page) -> list[str]:
    """Return what axe-core finds, with where it finds it."""
    page.evaluate(axe())
    found: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{one['impact']}: {one['help']}: {json.dumps([node['html'] for node in one['nodes']])}"
        for one in found["violations"]
    ]


@pytest.fixture(params=["light", "dark"])
def visit(browser: Browser, link: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    viewport = {"width": 1440, "height": 900}
    with visiting(browser, link, color_scheme=request.param, viewport=viewport) as visit:
        yield visit
        visit.calm()


def test_the_phone_has_no_violation(visit: Visit) -> None:
    page = visit.page
    assert violations(page) == []

    visit.meet("Grace", channel="whatsapp")
    page.get_by_role("button", name="Phone off").click()
    visit.say("break")
    expect(visit.mine("break")).to_contain_text("failed for good")
    expect(page.locator(".bubble.is-bad")).to_be_visible()
    page.get_by_text("New contact").click()
    visit.turn("Out of order", on=True)
    page.get_by_role("button", name="Attach").click()
    visit.line_of(visit.mine("break"))
    assert violations(page) == []

    visit.line_of(page.locator(".bubble.theirs"))
    page.locator("#line summary").last.click()
    assert violations(page) == []

    page.get_by_role("button", name="Attach").click()
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page) == []
    page.get_by_role("link", name="Back to conversations").click()
    assert violations(page) == []
