"""Nobody gets a reply: it is seen everywhere, mended, by itself if that can be, and seen to be."""

import asyncio
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from prometheus_client.parser import text_string_to_metric_families as parse

from offhook.doctor import Severity
from offhook.twilio.simulator import Trouble
from testing.commands import PATIENCE, Call, Home, Process
from testing.plain_http import PlainAsyncClient
from testing.roles import Site, in_thread, listening, site

BOT = """
from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> list[str]:
    return [f"{message.body}, first", f"{message.body}, second"]
"""

NUMBER = 25
TOKEN = "a token of the dashboard's, long enough"


class Story(NamedTuple):
    """What keeps replies from people.

    Attributes:
        people: who get none; nobody else's story is about them.
    """

    state: str
    code: str
    trouble: Trouble
    people: list[str]


def people(digit: int) -> list[str]:
    return [f"+15551230{digit}{number:02}" for number in range(NUMBER)]


STORIES = [
    Story("pending", "63038", Trouble(rate_limited=1, limit_code=63038), people(1)),
    Story("pending", "20003", Trouble(unauthenticated=1), people(2)),
    Story("undelivered", "63016", Trouble(undelivered=dict.fromkeys(people(3), 63016)), people(3)),
]


class Operator:
    """Looks at a machine in every way that there is."""

    def __init__(self, home: Home, call: Call, machine: Process) -> None:
        self._home = home
        self._call = call
        self._machine = machine

    async def retry(self, state: str, *filters: str) -> dict[str, Any]:
        """Retry all replies in a state, in a process of its own: it takes signals."""
        options = ("--all", "--state", state, *filters, "--rate", "1000/s", "--yes", "--json")
        ended = await in_thread(lambda: self._home.run("sends", "retry", *options))
        # What waits may be due by itself just now: then it is no longer pending.
        assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
        told: dict[str, Any] = json.loads(ended.stdout)
        return told

    async def run(self, *arguments: str, statuses: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
        """Run a command; return the objects that it prints."""
        ended = await in_thread(lambda: self._call(*arguments, "--json"))
        assert ended.status in statuses, ended.stdout + ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]

    async def stats(self) -> dict[str, Any]:
        (found,) = await self.run("stats")
        return found

    async def warnings(self) -> list[str]:
        """Return what the doctor says about replies."""
        # It exits with 1: the public URL is this machine's.
        findings = await self.run("doctor", "--offline", statuses=(1,))
        bad = [one for one in findings if one["verdict"] != Severity.OK]
        return [one["text"] for one in bad if one["subject"] == "replies"]

    async def metrics(self) -> Callable[..., float]:
        text = (await self._get("/metrics")).text
        found = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(text)
            for sample in family.samples
        }
        return lambda name, **labels: found.get((name, frozenset(labels.items())), 0.0)

    async def runs(self) -> float:
        """Return how often a handler of messages has come to its end."""
        labels = {"kind": "message", "trigger": "complete"}
        return (await self.metrics())("offhook_handler_runs_total", **labels)

    async def headline(self) -> str:
        page = (await self._get("/dashboard")).text
        verdict = page.partition('id="verdict"')[2].partition('id="tiles"')[0]
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", verdict)))

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await holds():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.1)

    async def _get(self, path: str) -> httpx2.Response:
        match = re.search(r"metrics on (http://[\d.:]+)", self._machine.output)
        assert match, self._machine.explain()
        async with PlainAsyncClient(follow_redirects=True) as client:
            if path.startswith("/dashboard"):
                form = {"token": TOKEN}
                await client.post(f"{match[1]}/dashboard/login", data=form)
            response = await client.get(match[1] + path, timeout=PATIENCE)
            assert response.is_success, response.text
            return response


async def test_nobody_is_answered_and_all_are_after_a_retry(
    tmp_path: Path, call_in: Callable[[Home], Call]
) -> None:
    environment = {"OFFHOOK_ADMIN_BIND": "127.0.0.1:0", "OFFHOOK_DASHBOARD_TOKEN": TOKEN}
    async with site(tmp_path, BOT, **environment) as here:
        with here.run() as machine:
            await listening(machine)
            home = Home(here.path / "run", BOT, **here.environment)
            operator = Operator(home, call_in(home), machine)
            for told, story in enumerate(STORIES):
                await happens(story, here, operator, told)
                await is_mended(story, here, operator, told)


async def happens(story: Story, here: Site, operator: Operator, told: int) -> None:
    """Let nobody get a reply, and see it; some stories have been told before."""
    here.simulator.trouble = story.trouble
    await asyncio.gather(*(here.simulator.text("hi", from_=one) for one in story.people))
    short = NUMBER * (1 if story.state == "pending" else 2)

    async def all_are_short() -> bool:
        metrics = await operator.metrics()
        labels = {"state": story.state, "code": story.code}
        return metrics("offhook_store_undelivered_sends", **labels) == short

    await operator.until(all_are_short)
    await seen(operator, story.state, story.code)
    assert await operator.runs() == NUMBER * (told + 1)


async def is_mended(story: Story, here: Site, operator: Operator, told: int) -> None:
    """Retry all: each person gets what they should have got, and no handler runs for it."""
    here.simulator.trouble = Trouble()
    before = len(here.simulator.sent)
    done = await operator.retry(story.state)
    assert done["retried"] + done["refused"] == done["matched"]
    if story.state == "undelivered":
        assert (done["retried"], done["refused"]) == (2 * NUMBER, 0)

    async def all_are_answered() -> bool:
        metrics = await operator.metrics()
        return metrics("offhook_store_sends", state="sent") == 2 * NUMBER * (told + 1)

    await operator.until(all_are_answered)
    for person in story.people:
        got = [one.body for one in here.simulator.sent[before:] if one.to == person]
        assert got == ["hi, first", "hi, second"], "in order, once"
    await unseen(operator)
    assert await operator.runs() == NUMBER * (told + 1)


OUT_OF_TIME = """
from offhook import Message, Offhook, Reply, Template

app = Offhook()

@app.message()
async def answer(message: Message) -> Reply:
    template = Template("HX0123456789abcdef0123456789abcdef", {"1": message.body})
    return Reply("word " * 400, fallback=template)
"""


async def test_templates_reach_everybody_once_when_the_window_was_closed(
    tmp_path: Path, call_in: Callable[[Home], Call]
) -> None:
    """The callback comes, and everything is killed before the template has left."""
    number = 5
    outside = [f"whatsapp:{person}" for person in people(1)[:number]]
    environment = {"OFFHOOK_ADMIN_BIND": "127.0.0.1:0", "OFFHOOK_DASHBOARD_TOKEN": TOKEN}
    async with site(tmp_path, OUT_OF_TIME, **environment) as here:
        line = here.simulator
        line.trouble = Trouble(whatsapp_window=0.0, webhook_delay=1.0)
        with here.run() as machine:
            await listening(machine)
            home = Home(here.path / "run", OUT_OF_TIME, **here.environment)
            operator = Operator(home, call_in(home), machine)
            await asyncio.gather(*(line.text("hi", from_=one) for one in outside))
            await line.wait_for(lambda sent: sent.number == 2 * number)
            # The texts are with Twilio, which takes no templates now; the callbacks are under way.
            line.trouble = Trouble(rate_limited=1.0, retry_after=1, whatsapp_window=0.0)

            async def all_have_fallen_back() -> bool:
                listed = await operator.run("sends", "list")
                templates = [one for one in listed if one["fallback_reason"]]
                texts = [one for one in listed if one["state"] == "replaced"]
                return (len(templates), len(texts)) == (number, 2 * number)

            await operator.until(all_have_fallen_back)
            machine.kill()

        line.trouble = Trouble(whatsapp_window=0.0, duplicates=1)
        with here.run() as machine:
            await listening(machine)
            home = Home(here.path / "run", OUT_OF_TIME, **here.environment)
            operator = Operator(home, call_in(home), machine)

            async def all_are_answered() -> bool:
                return {
                    one.to for one in line.sent if one.content_sid and one.status == "read"
                } == set(outside)

            await operator.until(all_are_answered)

            async def nothing_is_short() -> bool:
                found = await operator.stats()
                return (found["people_unanswered"], found["not_delivered"]) == (0, [])

            await operator.until(nothing_is_short)
            templates = [(one.to, one.body) for one in line.sent if one.content_sid]
            assert sorted(templates) == sorted((person, "") for person in outside), "once"
            assert await operator.warnings() == []
            accepted = (await operator.metrics())(
                "offhook_sends_total", what="fallback", trigger="accept"
            )
            assert accepted <= number
            assert await operator.runs() == 0


async def seen(operator: Operator, state: str, code: str) -> None:
    found = await operator.stats()
    assert found["people_unanswered"] == NUMBER
    (reason,) = found["not_delivered"]
    assert (reason["state"], reason["code"]) == (state, code)
    assert reason["meaning"]
    warnings = await operator.warnings()
    assert f"{NUMBER} people have got no reply" in warnings[0]
    assert len([one for one in warnings if code in one]) == 1, "one finding"
    metrics = await operator.metrics()
    assert metrics("offhook_store_unanswered_people") == NUMBER
    assert metrics("offhook_store_undelivered_sends", state=state, code=code) >= NUMBER
    if state == "undelivered":
        assert metrics("offhook_deliveries_total", status=state, code=code) == 2 * NUMBER
        alert = {"alert": "replies-undelivered", "level": "warning"}

        async def is_raised() -> bool:
            return bool((await operator.metrics())("offhook_alert_active", **alert))

        await operator.until(is_raised)
    else:
        assert metrics("offhook_store_oldest_send_seconds") > 0

    async def is_told() -> bool:
        shown = await operator.headline()
        return f"{NUMBER} people" in shown and code in shown and reason["meaning"] in shown

    await operator.until(is_told)

    async def are_listed() -> bool:  # but for those that are being tried again just now
        listed = await operator.run("sends", "list", "--state", state, "--code", code)
        assert {one["error_code"] for one in listed} <= {code}
        return len(listed) >= NUMBER

    await operator.until(are_listed)


async def unseen(operator: Operator) -> None:
    found = await operator.stats()
    assert (found["people_unanswered"], found["not_delivered"]) == (0, [])
    assert found["oldest_reply_seconds"] is None
    assert await operator.warnings() == []
    assert (await operator.metrics())("offhook_store_unanswered_people") == 0

    async def all_is_well() -> bool:
        shown = await operator.headline()
        return f"{NUMBER} people" not in shown and "was not delivered" not in shown

    await operator.until(all_is_well)
