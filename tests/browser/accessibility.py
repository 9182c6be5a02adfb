"""Who can't see the page, or uses no mouse, can use it: checked by axe-core."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from playwright.sync_api import Page

# The rules about colours are judged in both; to judge all of them again would take as long again.
RULES: Final[dict[Literal["light", "dark"], str]] = {
    "light": "{resultTypes: ['violations']}",
    "dark": "{resultTypes: ['violations'], runOnly: ['color-contrast', 'link-in-text-block']}",
}


@cache
def axe() -> str:
    """Return axe-core, as the package of its name for Playwright brings it."""
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def violations(page: Page) -> list[str]:
    """Return what axe-core finds in light and in dark colours, with where it finds it."""
    page.evaluate(axe())
    found = []
    for colours, rules in RULES.items():
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")  # no colours in between
        result: dict[str, Any] = page.evaluate(f"axe.run({rules})")
        found += [
            f"{colours}: {one['impact']}: {one['help']}: "
            f"{json.dumps([node['html'] for node in one['nodes']])}"
            for one in result["violations"]
        ]
    return found
