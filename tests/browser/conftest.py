from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from testing.commands import Home, dev
from tests.browser.support import BOT, Visit, browsing, link_of, visiting


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"), BOT)


@pytest.fixture(scope="module")
def link(home: Home) -> Iterator[str]:
    """Return the link to the phone of a bot that runs while the module's tests do."""
    with dev(home) as running:
        yield link_of(running)


@pytest.fixture
def visit(browser: Browser, link: str) -> Iterator[Visit]:
    """Return the phone in a browser of its own, open at the conversation of a new person, Ada."""
    with visiting(browser, link) as visit:
        visit.meet("Ada")
        yield visit
        visit.calm()
