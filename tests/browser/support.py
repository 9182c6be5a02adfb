"""A real Chromium that talks to a real `offhook dev`."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

from playwright.sync_api import (
    APIResponse,
    Browser,
    BrowserContext,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from offhook.dev.phone.switches import FaultSwitch
from testing.commands import PATIENCE, Process

BOT = """
import asyncio
from pathlib import Path

from offhook import Message, Offhook, Reply, RetryLater

app = Offhook(slow_notice_after=3)  # longer than any other reply takes on a busy machine


@app.opt_out()
async def bye() -> str:
    return "Sorry to see you go"


@app.message(where=lambda message: message.media)
async def see(message: Message) -> Reply:
    return Reply("Seen", media=[message.media[0].url])


@app.message(where=lambda message: message.location)
async def find(message: Message) -> str:
    place = message.location
    return f"{message.profile_name} is at {place.label}: {place.latitude}, {place.longitude}"


@app.message(where=lambda message: message.button)
async def press(message: Message) -> str:
    return f"You pressed {message.button.text}: {message.button.payload}"


@app.message(where=lambda message: message.body == "think")
async def think() -> str:
    await asyncio.sleep(5)
    return "42"


@app.message(where=lambda message: message.body == "wait")
async def wait() -> str:
    while not Path("go").exists():
        await asyncio.sleep(0.05)
    return "Gone"


@app.message(where=lambda message: message.body == "break", max_attempts=1)
async def fall() -> str:
    raise ValueError("nobody has thought of this")


@app.message(where=lambda message: message.body == "not yet")
async def put_off(message: Message) -> str:
    if message.attempt == 1:
        raise RetryLater(900)
    return "Now it is time"


@app.message()
async def answer(message: Message) -> str:
    return f"You said: {message.body}"
"""

_NUMBERS = count(1_240_000)

MISSING = (
    "The browser tests need a Chromium: apt-get install chromium, "
    "or set OFFHOOK_TEST_CHROMIUM to the path of one."
)

expect.set_options(timeout=PATIENCE * 1000)


def chromium() -> str:
    """Return the path of a Chromium. Without one the tests fail: nobody is to believe they ran."""
    found = os.environ.get("OFFHOOK_TEST_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        raise AssertionError(MISSING)
    return found


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a Chromium. Within the context no other event loop can run in this thread."""
    # No name but this machine's is found: what wants to leave fails, and is noted.
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    # One process for all pages of a profile: they are all the same site's.
    arguments += ["--process-per-site", "--renderer-process-limit=1"]
    if os.getuid() == 0:
        arguments.append("--no-sandbox")  # Chromium's sandbox refuses to run as root
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=arguments)


@dataclass
class Visit:
    """A page that was opened, and what was noticed about it.

    Attributes:
        left: URLs of requests that wanted to leave the machine.
        complaints: errors and warnings in the console.
    """

    page: Page
    base: str
    left: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def meet(self, name: str, channel: str = "sms") -> None:
        """Open the conversation of a person whom no other test knows."""
        number = f"+1555{next(_NUMBERS)}"
        person = {"name": name, "number": number, "channel": channel}
        met = self.order("people", person).json()["conversation"]
        self.page.goto(f"{self.base}/phone?with={met}")
        expect(self.page.locator("#live")).to_have_text("live")
        expect(self.page.locator("#talk")).to_contain_text(number)

    def calm(self) -> None:
        """Turn all kinds of trouble off, for the next test."""
        for switch in FaultSwitch:
            self.order("switches", {"switch": switch, "on": False})

    def say(self, text: str) -> None:
        """Write as the person whose conversation is open, and wait until it has been sent."""
        box = self.page.get_by_role("textbox", name="Message as")
        box.fill(text)
        self.page.keyboard.press("Enter")
        expect(box).to_have_value("")

    def talk_to(self, name: str) -> None:
        self.page.locator("#entries").get_by_role("link", name=re.compile(name)).click()
        expect(self.page.locator("#talk").get_by_role("heading")).to_have_text(name)

    def turn(self, switch: str, *, on: bool) -> None:
        """Turn a kind of trouble on or off, and wait until the server knows."""
        panel = self.page.locator("#trouble")
        if panel.get_attribute("open") is None:
            panel.locator("summary").click()
        with self.page.expect_response("**/phone/switches"):
            panel.get_by_role("switch", name=re.compile(switch)).set_checked(on)

    def mine(self, text: str) -> Locator:
        return self.page.locator(".bubble.mine").filter(has=self.page.get_by_text(text, exact=True))

    def theirs(self, text: str) -> Locator:
        place = self.page.get_by_text(text, exact=True)
        return self.page.locator(".bubble.theirs").filter(has=place)

    def line_of(self, bubble: Locator) -> Locator:
        """Open what happened on the line for a bubble."""
        bubble.locator(".bubble-box").click()
        title = bubble.locator(".bubble-text").inner_text()
        expect(self.page.locator("#line .line-title")).to_have_text(title)
        return self.page.locator("#line")

    def order(self, kind: str, body: Mapping[str, object] | None = None) -> APIResponse:
        """Ask the phone for something, as its page does."""
        url, origin = f"{self.base}/phone/{kind}", {"Origin": self.base}
        answer = self.page.request.post(url, data=dict(body or {}), headers=origin)
        assert answer.ok, answer.text()
        return answer


def link_of(dev: Process, page: str = "phone") -> str:
    """Return the link that `offhook dev` has printed."""
    found = re.search(rf"http://\S+/{page}\?token=\S+", dev.output)
    assert found, dev.explain()
    return found[0]


@contextmanager
def visiting(browser: Browser, link: str, **options: object) -> Iterator[Visit]:
    """Open a page by its link in a profile of its own. See `page_of`."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    with closing(context), page_of(context, base_of(link)) as visit:
        visit.page.goto(link)
        expect(visit.page.locator("#live")).to_have_text("live")
        yield visit


@contextmanager
def page_of(context: BrowserContext, base: str) -> Iterator[Visit]:
    """Have an empty page; afterwards, nothing may have gone wrong on it or left the machine."""
    page = _opened(context)
    page.set_default_timeout(PATIENCE * 1000)
    visit = Visit(page, base)

    def note(made: Request) -> None:
        if not made.url.removeprefix("blob:").startswith(visit.base):
            visit.left.append(made.url)

    page.on("request", note)
    page.on("console", lambda told: visit.complaints.append(f"{told.type}: {told.text}"))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    with closing(page):
        yield visit
        assert not visit.left
        assert not visit.complaints


def _opened(context: BrowserContext) -> Page:
    """Open a page from one of the profile, if there is one: it is rendered by the same process.

    A process of its own takes half a second of CPU.
    """
    if not context.pages:
        return context.new_page()
    with context.expect_page() as opened:
        context.pages[0].evaluate("void window.open('about:blank')")
    return opened.value


def base_of(link: str) -> str:
    """Return the URL that a link begins with, without its path."""
    parts = urlsplit(link)
    return f"{parts.scheme}://{parts.netloc}"
