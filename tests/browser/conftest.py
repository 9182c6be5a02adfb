from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from testing.commands import Home, dev
from tests.browser.support import BOT, Visit, base_of, browsing, link_of, page_of


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


@pytest.fixture(scope="module")
def context(browser: Browser, link: str) -> Iterator[BrowserContext]:
    """Return a profile that has opened the link: its cookie lets all its pages in.

    One page stays open, and with it the process that renders the pages of the tests.
    """
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.goto(f"{base_of(link)}/favicon.ico")
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, link: str) -> Iterator[Visit]:
    """Return a page with the phone, open at the conversation of a new person, Ada."""
    with page_of(context, base_of(link)) as visit:
        visit.meet("Ada")
        yield visit
        visit.calm()
