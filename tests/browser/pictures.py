"""Takes the pictures of the documentation: `make pictures`."""

import tempfile
from pathlib import Path

from playwright.sync_api import expect

from testing.commands import Home, dev
from tests.browser.support import Visit, browsing, link_of, visiting

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"

BOT = """
import asyncio

from offhook import Message, Offhook

app = Offhook(slow_notice="One moment, I am asking the kitchen.", slow_notice_after=0.5)

ANSWERS = {
    "open": "Yes: tomorrow from 9 to 18, and the garden too if the sun is out.",
    "table": "A table for four at 12:30 is yours. See you tomorrow!",
    "late": "No problem, we keep it for half an hour.",
}


@app.message(where=lambda message: "vegan" in message.body)
async def ask_kitchen() -> str:
    await asyncio.sleep(1.2)
    return "The lentil soup and the apple cake are vegan."


@app.message(where=lambda message: "gluten" in message.body)
async def ask_baker() -> str:
    await asyncio.sleep(15)
    return "The almond cake is."


@app.message()
async def answer(message: Message) -> str:
    found = [text for word, text in ANSWERS.items() if word in message.body]
    return found[0] if found else "Here is the café. How can we help?"
"""


def converse(visit: Visit) -> None:
    """Have a conversation worth looking at."""
    said = [
        ("Are you open tomorrow?", "Yes: tomorrow from 9"),
        ("A table for four at half past twelve, please", "A table for four"),
        ("Is anything on the menu vegan?", "The lentil soup"),
    ]
    visit.talk_to("Alan")
    visit.say("We are late!")
    expect(visit.page.locator(".is-delivered")).to_have_count(1)
    visit.talk_to("Ada")
    for text, reply in said:
        visit.say(text)
        answer = visit.page.locator(".theirs.is-delivered", has_text=reply)
        expect(answer).to_be_visible()


KITCHEN = """
import asyncio, random

from offhook import Message, Offhook

app = Offhook(failure_notice="", timeout_notice="", loop_limit="10000/minute")


@app.message(where=lambda message: "vegan" in message.body, max_attempts=2)
async def ask_kitchen(message: Message) -> str:
    await asyncio.sleep(0.02)
    raise ConnectionError("the kitchen's computer does not answer: 10.0.4.7:5432")


@app.message()
async def answer(message: Message) -> str:
    await asyncio.sleep(random.expovariate(20))
    return "Here is the café. How can we help?"
"""

BUSY = 45  # seconds of traffic, for charts that show something


def be_busy(visit: Visit) -> None:
    """Have people write for a while, some of whom the bot fails."""
    visit.talk_to("Ada")
    for number in range(BUSY):
        if number % 15 == 3:
            visit.say("Is the lentil soup vegan?")
        visit.order("crowd")
        visit.page.wait_for_timeout(1000)


def go(visit: Visit, path: str) -> None:
    visit.page.goto(visit.base + path)
    expect(visit.page.locator("#live")).to_have_text("live")


def take_dashboard(visit: Visit) -> None:
    """Take the pictures of the dashboard."""
    page = visit.page
    go(visit, "/dashboard")
    expect(page.locator("#verdict")).to_contain_text("could not be handled")
    take(visit, "dashboard", whole=True)
    page.locator("#health").get_by_role("link").first.click()
    expect(page.get_by_label("Traceback").last).to_be_visible()
    expect(page.locator("#live")).to_have_text("live")
    page.emulate_media(color_scheme="dark")
    # Where this is checked out is of no interest.
    page.locator("pre").evaluate_all(
        "(all) => all.forEach((pre) => { pre.textContent = pre.textContent"
        ".replace(/\"\\S+?(\\/offhook\\/worker|\\/bot.py)/g, '\"/srv/bot$1'); })"
    )
    take(visit, "dashboard-message", whole=True)
    page.emulate_media(color_scheme="light")
    go(visit, "/dashboard/messages?state=dead&reveal=1")
    take(visit, "dashboard-inbox")
    page.set_viewport_size({"width": 390, "height": 780})
    page.emulate_media(color_scheme="dark")
    go(visit, "/dashboard")
    take(visit, "dashboard-narrow")


TABLES = """
from datetime import timedelta

from offhook import Message, Offhook

app = Offhook(slow_notice="")


@app.message(where=lambda message: "table" in message.body)
async def reserve(message: Message) -> str:
    reminder = "Your table is laid at 12:30. See you!"
    await app.send(message.from_, reminder, from_=message.to, at=timedelta(hours=20))
    return "A table for four tomorrow is yours."


@app.message()
async def answer(message: Message) -> str:
    return "Here is the café. How can we help?"
"""


def take_replies(visit: Visit) -> None:
    """Take the picture of replies: delivered, scheduled, not delivered and held up by a limit."""
    visit.talk_to("Ada")
    visit.say("A table for four, please")
    expect(visit.page.locator(".theirs.is-delivered")).to_have_count(1)
    for name in ("Alan", "Grace"):
        visit.talk_to(name)
        conversation = visit.page.url.partition("with=")[2]
        visit.order("reach", {"conversation": conversation, "reachable": False})
        visit.say("Are you open tomorrow?")
        expect(visit.page.locator(".theirs").last).to_contain_text("30003")
    visit.order("switches", {"switch": "limit", "on": True})
    visit.talk_to("Ada")
    visit.say("We are five")
    visit.page.set_viewport_size({"width": 1280, "height": 480})
    go(visit, "/dashboard/sends?reveal=1")
    expect(visit.page.locator("#listing")).to_contain_text("20429")
    take(visit, "dashboard-replies")


def take(visit: Visit, name: str, *, whole: bool = False) -> None:
    visit.page.screenshot(
        path=PICTURES / f"{name}.png", animations="disabled", caret="hide", full_page=whole
    )
    print(f"docs/pictures/{name}.png")  # noqa: T201 - a script


def main() -> None:
    """Take all of them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        browsing() as browser,
        dev(Home(Path(directory), BOT)) as running,
        visiting(browser, link_of(running), viewport={"width": 1440, "height": 900}) as visit,
    ):
        converse(visit)
        visit.say("Which cakes are gluten-free?")
        visit.say("And how late is the kitchen open?")
        expect(visit.mine("And how late is the kitchen open?")).to_contain_text("waiting behind 1")
        visit.line_of(visit.mine("Which cakes are gluten-free?"))
        expect(visit.mine("Which cakes are gluten-free?")).to_contain_text("running 3")
        take(visit, "phone")
        expect(visit.theirs("The almond cake is.")).to_be_visible()
        visit.page.emulate_media(color_scheme="dark")
        visit.turn("Deliver twice", on=True)
        visit.say("We may be ten minutes late")
        late = visit.page.locator(".theirs.is-delivered", has_text="No problem")
        expect(late).to_be_visible()
        visit.line_of(late)
        take(visit, "phone-dark")
        visit.page.keyboard.press("Escape")
        visit.page.emulate_media(color_scheme="light")
        visit.page.set_viewport_size({"width": 390, "height": 780})
        visit.page.get_by_role("textbox", name="Message as").focus()
        visit.page.locator("#scroll").evaluate("box => { box.scrollTop = box.scrollHeight; }")
        take(visit, "phone-narrow")
    with (
        tempfile.TemporaryDirectory() as directory,
        browsing() as browser,
        dev(Home(Path(directory), KITCHEN)) as running,
        visiting(browser, link_of(running), viewport={"width": 1440, "height": 900}) as visit,
    ):
        be_busy(visit)
        take_dashboard(visit)
    with (
        tempfile.TemporaryDirectory() as directory,
        browsing() as browser,
        dev(Home(Path(directory), TABLES)) as running,
        visiting(browser, link_of(running), viewport={"width": 1280, "height": 800}) as visit,
    ):
        take_replies(visit)


if __name__ == "__main__":
    main()
