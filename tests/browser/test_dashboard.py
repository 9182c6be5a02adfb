"""What an operator sees and does on the dashboard."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from offhook.dev.control import TEXTS, TOKEN_HEADER
from offhook.dev.session import Session
from testing.commands import PATIENCE, Home, dev
from testing.plain_http import PlainClient
from tests.browser.accessibility import violations
from tests.browser.support import Visit, base_of, link_of, page_of, visiting

BOT = """
from pathlib import Path

from offhook import Message, Offhook, RetryLater

app = Offhook(failure_notice="")


@app.message(where=lambda message: "table" in message.body, max_attempts=1)
async def book(message: Message) -> str:
    if not Path("mended").exists():
        raise ValueError(f"no table for {message.body}")
    return "A table is yours"


@app.message(where=lambda message: message.body == "not yet")
async def put_off(message: Message) -> str:
    if message.attempt == 1:
        raise RetryLater(900)
    return "Now it is time"


@app.message()
async def answer(message: Message) -> str:
    return f"You said: {message.body}"
"""

KATHMANDU = timezone(timedelta(hours=5, minutes=45))
ADA, ALAN = "+15551230001", "+15551230002"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"), BOT)


@pytest.fixture(scope="module")
def link(home: Home) -> Iterator[str]:
    with dev(home) as running:
        yield link_of(running, "dashboard")


@pytest.fixture
def visit(context: BrowserContext, link: str) -> Iterator[Visit]:
    with page_of(context, base_of(link)) as visit:
        yield visit


def text(home: Home, body: str, sender: str = ADA, *, until: str = "settled") -> None:
    """Do as `offhook text` does, without its start: send, and wait until something comes of it."""
    (file,) = (home.runtime / "offhook").glob("dev-*.json")
    session = Session.read(file)
    with PlainClient(base_url=session.url, timeout=PATIENCE) as client:
        order = {"body": body, "from_": sender, "timeout": PATIENCE}
        token = {TOKEN_HEADER: session.token}
        with client.stream("POST", TEXTS, json=order, headers=token) as answer:
            assert answer.is_success, answer.status_code
            assert any(json.loads(line)["event"] == until for line in answer.iter_lines())


def go(visit: Visit, path: str) -> Page:
    visit.page.goto(visit.base + path)
    expect(visit.page.locator("#live")).to_have_text("live")
    return visit.page


def inbox(visit: Visit, query: str = "") -> Page:
    return go(visit, f"/dashboard/messages?{query}")


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("#live")).to_have_text("live")


def rows(page: Page) -> list[str]:
    return page.locator("#listing tbody tr").all_inner_texts()


def test_a_dead_letter_appears_is_opened_and_read_and_replayed(visit: Visit, home: Home) -> None:
    page = inbox(visit, "state=dead")
    (home.directory / "mended").unlink(missing_ok=True)
    text(home, "a table for four")
    row = page.locator("#listing tbody tr", has_text="ValueError")
    expect(row).to_have_count(1)
    assert "four" not in page.content()
    assert ADA not in page.content()

    row.get_by_role("link").click()
    expect(page.locator("#state")).to_have_text("dead")
    assert "four" not in page.content()
    assert ADA not in page.content()
    page.get_by_role("link", name="Reveal the traceback").click()
    expect(page.get_by_label("Traceback")).to_contain_text("no table for a table for four")
    expect(page.locator("#message")).to_contain_text(ADA)

    (home.directory / "mended").touch()
    page.get_by_role("button", name="Replay").click()
    expect(page.locator("#state")).to_have_text("done")
    expect(page.locator("#message")).to_contain_text("Replayed by an operator.")
    expect(page.locator(".send")).to_contain_text("A table is yours")
    expect(page.locator(".send .tag.good", has_text="delivered")).to_be_visible()


def test_the_overview_says_what_needs_somebody(visit: Visit, home: Home) -> None:
    (home.directory / "mended").unlink(missing_ok=True)
    page = go(visit, "/dashboard")
    # A machine that is slow enough may have an alert of its own.
    expect(page.locator("#verdict")).to_contain_text(
        re.compile("All systems healthy|longer to answer")
    )
    text(home, "a table for two")
    expect(page.locator("#verdict")).to_contain_text("1 message could not be handled.")
    expect(page.locator("#tiles")).to_contain_text(re.compile(r"median [\d.]+\sm?s"))
    expect(page.get_by_role("img", name="Time until webhooks were acknowledged")).to_be_visible()
    page.locator("#health").get_by_role("link").first.click()
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("button", name="Discard now").click()
    expect(page.locator("#state")).to_have_text("discarded")


def test_all_that_are_dead_are_replayed_with_progress(visit: Visit, home: Home) -> None:
    (home.directory / "mended").unlink(missing_ok=True)
    for number in range(3):
        text(home, f"table {number}")
    (home.directory / "mended").touch()
    page = inbox(visit, "state=dead&reveal=1")
    page.get_by_role("link", name="Replay all dead").click()
    expect(page.get_by_role("heading", name="Replay 3 dead messages?")).to_be_visible()
    page.get_by_role("button", name="Replay 3").click()
    expect(page.get_by_role("heading", name="3 of 3 replayed")).to_be_visible()
    expect(page.locator("#job")).to_contain_text("Done")
    expect(inbox(visit, "state=dead").locator("#listing")).to_contain_text("No matching messages")


def test_who_moves_by_keyboard_keeps_the_place_when_the_page_is_made_anew(
    visit: Visit, home: Home
) -> None:
    (home.directory / "mended").unlink(missing_ok=True)
    text(home, "a table for two")
    page = inbox(visit, "state=dead")
    replay = page.get_by_role("link", name="Replay all dead")
    replay.focus()
    before = len(rows(page))
    text(home, "a table for seven")
    expect(page.locator("#listing tbody tr")).to_have_count(before + 1)
    expect(replay).to_be_focused()


# Compared at one moment: what is said may change.
SAID = """
() => document.querySelector(".verdict-line").textContent
  === document.getElementById("announcer").textContent
"""


def test_whether_all_is_well_is_read_aloud(visit: Visit, home: Home) -> None:
    page = go(visit, "/dashboard")
    expect(page.locator(".verdict-line")).not_to_have_text("Loading …")
    page.wait_for_function(SAID, timeout=PATIENCE * 1000)


def test_a_message_that_waits_is_retried_now_and_says_what_waits_behind_it(
    visit: Visit, home: Home
) -> None:
    grace = "+15551230003"
    text(home, "not yet", grace, until="failed")
    text(home, "hello", grace, until="acknowledged")
    page = inbox(visit, "q=%2B15551230003&state=open")
    page.locator("#listing tbody tr").get_by_role("link").click()
    expect(page.locator("#behind")).to_contain_text(re.compile(r"its next attempt is at \d\d:\d\d"))
    page.locator("#behind").get_by_role("link").click()
    expect(page.locator("#state")).to_have_text("waiting")
    page.get_by_role("button", name="Retry now").click()
    expect(page.locator("#state")).to_have_text("done")
    expect(page.locator("#message")).to_contain_text("Replayed by an operator.")
    expect(page.locator(".send")).to_contain_text("return:0")


def test_a_message_is_discarded(visit: Visit, home: Home) -> None:
    (home.directory / "mended").unlink(missing_ok=True)
    text(home, "table 4")
    page = inbox(visit, "state=dead")
    expect(page.locator("#listing .groups")).to_contain_text("ValueError")
    page.get_by_role("link", name="ValueError").click()
    row = page.locator("#listing tbody tr").first
    sid = row.locator("code").inner_text()
    row.locator("code").dblclick()
    assert page.evaluate("String(getSelection()).trim()") == sid  # it can be copied
    page.get_by_role("heading", name="Inbox").click()
    row.locator(".when").click()  # all of a row leads to its message
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    expect(page.locator("#state")).to_have_text("dead")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("button", name="Discard now").click()
    expect(page.locator("#state")).to_have_text("discarded")
    expect(page.get_by_role("button", name="Discard")).to_have_count(0)


def test_messages_are_found_by_number_sid_words_and_their_own_number(
    visit: Visit, home: Home
) -> None:
    text(home, "Is the garden open?", ALAN)
    page = inbox(visit, "reveal=1")
    for typed in (ALAN, "+1 (555) 123-0002", "THE GARDEN"):
        search(page, typed)
        (found,) = rows(page)
        assert "Is the garden open?" in found
    inbox(visit)
    search(page, ALAN)
    (found,) = rows(page)
    assert "garden" not in found
    assert ALAN not in found
    (sid,) = re.findall(r"SM[0-9a-f]{32}", found)
    search(page, sid)
    assert len(rows(page)) == 1
    assert sid in rows(page)[0]
    number = page.locator("#listing tbody a").inner_text()
    page.get_by_role("searchbox").fill(f"#{number}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Message {number}")).to_be_visible()

    search(inbox(visit), "elephants")
    expect(page.locator("#listing")).to_contain_text("No matching messages")


def test_the_pages_are_passed_through_by_keyboard(visit: Visit, home: Home) -> None:
    text(home, "hello")
    page = inbox(visit)
    page.locator("#listing tbody a").first.focus()
    text(home, "hello again")  # the list is made anew meanwhile
    focused = page.evaluate("document.activeElement.id")
    expect(page.locator("#listing tbody a").first).not_to_have_id(focused)
    assert page.evaluate("document.activeElement.id") == focused
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Message {focused[1:]}")).to_be_visible()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Host": "bot.example.com"}, 404),
        ({"X-Forwarded-For": "203.0.113.9"}, 404),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
def test_others_see_nothing(link: str, headers: dict[str, str], status: int) -> None:
    base = link.partition("/dashboard")[0]
    with PlainClient(base_url=base, headers=headers) as client:
        for path in ("/dashboard", "/dashboard/messages", "/dashboard/static/dashboard.js"):
            assert client.get(path).status_code == status
        assert client.post("/dashboard/messages/1/replay").status_code in {status, 403}


PARTS = "() => performance.getEntriesByType('resource').map((entry) => entry.name)"


def test_a_page_weighs_less_than_100_kb(visit: Visit, home: Home) -> None:
    for number in range(3):
        text(home, f"hello {number}")
    for path in ("/dashboard", "/dashboard/messages?kind=all", "/dashboard/messages/1"):
        page = go(visit, path)
        urls = {page.url, *page.evaluate(PARTS)}
        weights = [len(page.request.get(url).body()) for url in urls]
        assert len(weights) >= 5
        assert sum(weights) < 100_000


def test_no_page_has_a_violation(browser: Browser, link: str, home: Home) -> None:
    (home.directory / "mended").unlink(missing_ok=True)
    text(home, "a round table")
    elsewhere = {"viewport": {"width": 1280, "height": 800}, "timezone_id": "Asia/Kathmandu"}
    with visiting(browser, link, **elsewhere) as visit:
        page = go(visit, "/dashboard")
        expect(page.locator("#verdict")).to_contain_text("could not be handled")
        assert violations(page) == []
        page = inbox(visit, "state=dead")
        assert violations(page) == []
        assert violations(inbox(visit, "kind=all&reveal=1")) == []
        page.locator("#listing tr", has_text="a round table").get_by_role("link").click()
        expect(page.get_by_label("Traceback")).to_be_visible()
        received = page.locator("#message time").first
        at = datetime.fromtimestamp(float(received.get_attribute("data-at") or 0), KATHMANDU)
        expect(received).to_contain_text(at.strftime("%H:%M"))  # in the zone of who reads it
        assert violations(page) == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert violations(page) == []
        assert violations(inbox(visit, "state=dead")) == []
        page.get_by_role("link", name="Replay all dead").click()
        expect(page.get_by_role("heading", name=re.compile(r"Replay \d+ dead"))).to_be_visible()
        assert violations(page) == []
        search(inbox(visit), "elephants")
        assert violations(page) == []


RUN = {
    "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_AUTH_TOKEN": "made-up",
    "OFFHOOK_PUBLIC_URL": "https://bot.example.com",
    "OFFHOOK_ADMIN_BIND": "127.0.0.1:0",
    "OFFHOOK_DASHBOARD_TOKEN": "correct-horse-battery",
}


def test_under_run_a_login_refuses_locks_and_lets_in(browser: Browser, tmp_path: Path) -> None:
    home = Home(tmp_path, BOT, **RUN)
    with home.start("run", "bot:app", "--port", "0") as running:
        running.wait_for("with the dashboard")
        found = re.search(r"metrics on (http://[\d.:]+)", running.output)
        assert found, running.explain()
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{found[1]}/dashboard/messages?state=dead")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert violations(page) == []
        page.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Wrong token")
        page.get_by_label("Token").fill(RUN["OFFHOOK_DASHBOARD_TOKEN"])
        page.keyboard.press("Enter")
        expect(page.locator("#live")).to_have_text("live")
        assert page.url.endswith("/dashboard/messages?state=dead")
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("#health")).to_contain_text(re.compile("1 ingress.*1 worker|1 admin"))
        other = context.new_page()
        other.goto(f"{found[1]}/dashboard")
        expect(other.locator("#live")).to_have_text("live")
        expect(other.locator(".chart").first).to_contain_text("No webhooks in this time")

        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        for _ in range(5):
            page.get_by_label("Token").fill("wrong")
            with page.expect_navigation():
                page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Too many wrong tokens")
        page.get_by_label("Token").fill(RUN["OFFHOOK_DASHBOARD_TOKEN"])
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Too many wrong tokens")

        running.kill()
        expect(other.locator(".verdict-line")).to_contain_text("No connection since")
        context.close()
