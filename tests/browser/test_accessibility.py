"""Who can't see the page, or uses no mouse, can use it: checked by axe-core."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.support import Visit, visiting

COLOURS: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


@cache
def axe() -> str:
    """Return axe-core, as the package of its name for Playwright brings it."""
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def violations(page: Page) -> list[str]:
    """Return what axe-core finds in light and in dark colours, with where it finds it."""
    page.evaluate(axe())
    found = []
    for colours in COLOURS:
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")  # no colours in between
        result: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
        found += [
            f"{colours}: {one['impact']}: {one['help']}: "
            f"{json.dumps([node['html'] for node in one['nodes']])}"
            for one in result["violations"]
        ]
    return found


@pytest.fixture
def visit(browser: Browser, link: str) -> Iterator[Visit]:
    with visiting(browser, link, viewport={"width": 1440, "height": 900}) as visit:
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
