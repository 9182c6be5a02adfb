"""What the dashboard makes of what it is told. What people see of it: tests/browser."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.admin import Dashboard
from offhook.admin.charts import HEIGHT, amounts, durations
from offhook.admin.figures import Figures, Histogram
from offhook.admin.overview import issues, overview
from offhook.admin.pages import Pages
from offhook.admin.samples import Sample, Sampler
from offhook.admin.streams import Cached, Streams, View
from offhook.alerts import Alert, Level
from offhook.clock import steady
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, State, Trigger
from offhook.errors import StoreUnavailable
from offhook.events import Answered, Handled, Problem, Topic
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.shared_counters import SharedCounters
from offhook.observe.system import Snapshot, SystemMonitor
from offhook.settings import Settings
from offhook.stores.api import (
    Counts,
    Filter,
    Record,
    Settlement,
    Store,
)
from offhook.web.design.formats import span
from testing.plain_http import PlainAsyncClient
from testing.stores import claim, claim_one, draft, inbound, opened

EMPTY = Counts(dict.fromkeys(State, 0), dict.fromkeys(SendState, 0), None, 0, 0)
NO_FIGURES = Figures({}, {})


def answered(total: float, *, status: int = 200, error: str = "") -> Answered:
    return Answered(Kind.MESSAGE, status, error, False, "SM1", "+1", 0.0, 0.0, total)


async def snapshot_of(*events: Answered | Handled | Problem) -> Snapshot:
    counters = SharedCounters.alone()
    observer = PrometheusObserver(counters)
    for event in events:
        observer(event)

    async def count() -> Counts:
        return EMPTY

    return await SystemMonitor({"dev-1": counters.memory}, count).snapshot()


def test_figures_are_those_of_the_events() -> None:
    hit = Answered(Kind.MESSAGE, 200, "", True, "SM1", "+1", 0.0, 0.0, 0.001, cached="memory")
    ran = Handled(1, Kind.MESSAGE, "SM1", 1, Trigger.RETRY, 0.0, 0.1)
    away = Problem(Topic.CACHE_UNAVAILABLE, "Redis is away")
    snapshot = asyncio.run(
        snapshot_of(
            answered(0.004), hit, answered(0.1, status=503, error="store-unavailable"),
            answered(0.1, status=403, error="signature-mismatch"), ran, ran, away,
        )
    )  # fmt: skip
    figures = Figures.of(snapshot)
    counted = {name: number for name, number in figures.counters.items() if number}
    assert counted == {
        "accepted": 2, "repeated": 1, "cached": 1, "failed": 1, "refused": 1, "retried": 2,
    }  # fmt: skip
    assert figures.phases["total"].total == 2
    assert figures.processes == {"dev": 1}
    assert figures.problems == {"cache-unavailable"}
    nothing = figures.since(figures)
    assert not any(nothing.counters.values())
    assert nothing.phases["total"].quantile(0.5) is None


@given(st.lists(st.floats(0.0001, 10.0), min_size=1, max_size=50))
def test_a_quantile_is_in_the_bucket_of_the_true_one(taken: list[float]) -> None:
    figures = Figures.of(asyncio.run(snapshot_of(*map(answered, taken))))
    found = figures.phases["total"].quantile(1.0)
    assert found is not None
    assert max(taken) / 4 <= found <= max(taken) * 4


def test_what_is_beyond_all_bounds_is_as_long_as_the_last_one() -> None:
    counts = (*[0.0] * (len(Histogram().counts) - 1), 1.0)
    assert Histogram(counts).quantile(0.5) == 15.0


def test_all_is_well_when_nothing_needs_anybody() -> None:
    assert list(issues(Sample(0.0, EMPTY, 0.01, NO_FIGURES), (), parked_retention=90.0)) == []


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (replace(EMPTY, messages={State.DEAD: 1}), "1 message could not be handled."),
        (replace(EMPTY, messages={State.PARKED: 2}), "2 messages parked."),
        (None, "The store cannot be read."),
    ],
    ids=["dead", "parked", "away"],
)
def test_what_needs_somebody_is_said(counts: Counts | None, said: str) -> None:
    assert [
        one.text for one in issues(Sample(0.0, counts, 0.01, NO_FIGURES), (), parked_retention=90.0)
    ] == [said]


LIMITED = {(SendState.PENDING, "63038"): 25}
MISSED = {(SendState.UNDELIVERED, "63016"): 50, (SendState.FAILED, "21610"): 1}


@pytest.mark.parametrize(
    ("counts", "tones", "said"),
    [
        ({"shortfalls": LIMITED, "unanswered": 25, "oldest_send": 5.0}, [], ""),
        (
            {"shortfalls": LIMITED, "unanswered": 25, "oldest_send": 60.0},
            ["bad"],
            "25 people have got no reply. 25 people wait for replies (error 63038).",
        ),
        (
            {"shortfalls": MISSED, "unanswered": 26},
            ["bad", "warn"],
            "26 people have got no reply. 50 replies were not delivered (error 63016).",
        ),
        ({"shortfalls": MISSED}, ["warn", "warn"], "50 replies were not delivered (error 63016)."),
    ],
)
def test_people_who_get_no_reply_are_what_needs_somebody(
    counts: dict[str, Any], tones: list[str], said: str
) -> None:
    """Not a line for each: Twilio's limit is one finding, however many replies it concerns."""
    sample = Sample(0.0, replace(EMPTY, **counts), 0.01, NO_FIGURES)
    found = list(issues(sample, (), parked_retention=90.0))
    assert [issue.tone for issue in found] == tones
    assert [issue.text for issue in found[:1]] == ([said] if said else [])
    for issue in found:
        assert issue.link is not None
        assert issue.link.startswith("sends?state=")
        assert issue.advice


@pytest.mark.parametrize(
    ("shortfalls", "said"),
    [
        ({(SendState.PENDING, "63038"): 3}, ["3 people wait for replies (error 63038)."]),
        ({}, ["A reply waits, since"]),
    ],
)
def test_replies_that_wait_for_a_known_reason_are_one_finding(
    shortfalls: Any, said: list[str]
) -> None:
    alert = Alert("replies-pending", Level.CRITICAL, 400.0, "a reply waits", "Look why.", 0.0)
    counts = replace(EMPTY, shortfalls=shortfalls, oldest_send=400.0)
    sample = Sample(0.0, counts, 0.01, NO_FIGURES)
    found = list(issues(sample, [alert], parked_retention=90.0))
    assert len(found) == len(said)
    assert found[0].text.startswith(said[0])


def test_alerts_are_said_the_worst_first_and_what_is_known_sooner_once() -> None:
    alerts = [
        Alert("cpu", Level.WARNING, 0.9, "90% of the CPU is used", "Add a machine.", 0.0),
        Alert("dead-letters", Level.WARNING, 1.0, "messages given up: 1", "Mend it.", 0.0),
        Alert("backlog-age", Level.CRITICAL, 999.0, "a message waits", "Add workers.", 0.0),
    ]
    one_dead = replace(EMPTY, messages={State.DEAD: 1})
    found = list(issues(Sample(0.0, one_dead, 0.01, NO_FIGURES), alerts, parked_retention=90.0))
    assert [issue.tone for issue in found] == ["bad", "bad", "warn"]
    links = ["messages?state=dead", "messages?state=open", None]
    assert [issue.link for issue in found] == links
    assert found[1].text.startswith("A message waits, since ")


def verdict(
    counts: Counts, *, age: float, before: Sequence[Answered] = (), after: Sequence[Answered] = ()
) -> str:
    """Return what the overview says of a process that has run for some seconds."""

    async def scenario() -> str:
        counters = SharedCounters.alone()
        observer = PrometheusObserver(counters)

        async def count() -> Counts:
            return counts

        for event in before:
            observer(event)
        sampler = Sampler(SystemMonitor({"dev-1": counters.memory}, count).snapshot)
        await sampler.take()
        sampler.samples[0] = replace(sampler.samples[0], at=steady() - age)
        for event in after:
            observer(event)
        await sampler.take()
        shown = overview(sampler, (), parked_retention=90.0)
        page = Pages().render("status.html", **shown)
        tiles = Pages().render("tiles.html", **shown)
        return html.unescape(re.sub(r"<[^>]+>|\s+", " ", page + tiles))

    return re.sub(" +", " ", asyncio.run(scenario()))


def test_right_after_a_start_nothing_is_said_of_the_time_before() -> None:
    """It said "no webhook in the last half hour" beside "received 3 / min"."""
    received = replace(EMPTY, received=3)
    shown = verdict(received, age=12.0)
    assert "3 webhooks in the last minute." in shown
    assert "half hour" not in shown
    assert "five minutes" not in shown
    shown = verdict(EMPTY, age=12.0)
    assert re.search(r"No webhooks since \d\d:\d\d", shown)
    shown = verdict(received, age=400.0, after=[answered(0.01)] * 3)
    assert re.search(r"3 webhooks since \d\d:\d\d", shown)
    assert "in the last five minutes" in shown
    shown = verdict(received, age=1799.0, after=[answered(0.01)] * 3)
    assert "3 webhooks in the last half hour" in shown
    assert "No webhooks in the last half hour" in verdict(EMPTY, age=1799.0)


def test_replies_that_wait_to_be_sent_are_not_nothing() -> None:
    assert "No messages waiting." in verdict(EMPTY, age=60.0)
    pending = replace(EMPTY, sends={**EMPTY.sends, SendState.PENDING: 1, SendState.SENDING: 1})
    shown = verdict(pending, age=60.0)
    assert "2 replies waiting to be sent." in shown
    assert "2 to be sent" in shown
    assert "No messages waiting" not in shown


VALUES = st.lists(st.none() | st.floats(0, 1e7), min_size=1, max_size=60)


@given(VALUES)
def test_charts_stay_within_their_bounds(values: list[float | None]) -> None:
    ends = [float(n) for n in range(len(values))]
    for chart in (amounts({"a": values}, ends), durations({"a": values}, ends, 0.5)):
        heights = [y for y, _ in chart.marks] + [y for line in chart.lines for _, y in line.dots]
        heights += [
            float(p.split()[1])
            for line in chart.lines
            for p in line.path[1:].replace("M", "L").split("L")
            if p
        ]
        assert all(0 <= y <= HEIGHT for y in heights)


async def test_the_sampler_knows_what_has_come_to_it() -> None:
    counters = SharedCounters.alone()
    observer = PrometheusObserver(counters)

    async def count() -> Counts:
        return EMPTY

    sampler = Sampler(SystemMonitor({"dev-1": counters.memory}, count).snapshot)
    observer(answered(0.5))
    await sampler.take()
    for _ in range(3):
        observer(answered(0.001))
    await sampler.take()
    recent = sampler.recent(300)
    assert recent is not None
    assert recent.counters["accepted"] == 3
    bins = sampler.bins()
    assert sum(b.figures.counters["accepted"] for b in bins if b.figures) == 3


# Over HTTP


async def look() -> Snapshot:
    return Snapshot(0.0, {}, (), None)


@asynccontextmanager
async def visited(path: Path) -> AsyncIterator[tuple[httpx2.AsyncClient, Store]]:
    async with opened(path / "offhook.db") as store:
        dashboard = Dashboard(lambda: store, look, Settings.load(env_file=None))
        transport = httpx2.ASGITransport(app=dashboard.app)
        async with (
            dashboard.running(),
            PlainAsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            yield client, store


async def fields_of(client: httpx2.AsyncClient, path: str) -> dict[str, str]:
    """Return what a page's form carries along."""
    page = (await client.get(path)).text
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))


async def agree(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    """Look at many messages, and say yes."""
    return await client.post(path, data=await fields_of(client, path))


async def test_what_there_is_not_is_said(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, _store):
        for path, status, said in [
            ("/dashboard/messages/7", HTTPStatus.NOT_FOUND, "There is no message 7."),
            (f"/dashboard/messages/{10**20}", HTTPStatus.NOT_FOUND, "no such message"),
            ("/dashboard/messages/x", HTTPStatus.NOT_FOUND, "no such message"),
            ("/dashboard/messages?state=asleep", HTTPStatus.BAD_REQUEST, "unknown filter"),
            ("/dashboard/messages?before=x", HTTPStatus.BAD_REQUEST, "unknown filter"),
            ("/dashboard/jobs/none", HTTPStatus.NOT_FOUND, "offhook has restarted"),
            ("/dashboard/jobs?do=replay", HTTPStatus.BAD_REQUEST, "by their state"),
            (
                "/dashboard/jobs?do=dance&state=dead",
                HTTPStatus.BAD_REQUEST,
                "replayed or discarded",
            ),
            (
                "/dashboard/messages?q=%23%00&before=99999999999999999999",
                HTTPStatus.OK,
                "No matching messages",
            ),
        ]:
            answer = await client.get(path)
            assert answer.status_code == status, path
            assert said in answer.text


async def test_a_message_shows_its_conversation_and_the_keys_of_its_state(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        for number in range(2):
            form = urlencode({"MessageSid": f"SM{number}", "Body": f"question {number}"})
            await store.accept(inbound(f"SM{number}", "1")._replace(form=form.encode()))
            one = await claim_one(store)
            reply = replace(draft("return:0", f"answer {number}"), to="+15551")
            state = b'{"step":"age","name":"<Ann>"}'
            await store.settle(one, Settlement(Trigger.COMPLETE, drafts=(reply,), state=state))
        path = f"/dashboard/messages/{one.id}"
        hidden, revealed = (
            (await client.get(path)).text,
            (await client.get(path + "?reveal=1")).text,
        )
        texts = ["question 0", "answer 0", "question 1", "answer 1"]
        conversation = revealed.partition('id="conversation"')[2].partition("</section>")[0]
        assert re.findall(r"(?:question|answer) \d", conversation) == texts
        assert "&#34;&lt;Ann&gt;&#34;" in conversation
        assert "step" in hidden.partition('id="conversation-state"')[2]
        assert not [text for text in (*texts, "Ann") if text in hidden.split("<main")[1]]


async def test_dead_messages_are_grouped_by_error_and_acted_on_by_group(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        for n, error in enumerate(("KeyError: 'x'", "KeyError: 'y'", "OSError: no")):
            await store.accept(inbound(f"SM{n:03}", f"{n}"))
            await store.settle(await claim_one(store), Settlement(Trigger.GIVE_UP, error))
        page = (await client.get("/dashboard/messages?state=dead")).text
        groups = re.findall(r"<b>(\d+)</b> <a [^>]*href=\"([^\"]+)\">(\w+)<", page)
        assert [(count, error) for count, _, error in groups] == [
            ("2", "KeyError"),
            ("1", "OSError"),
        ]
        chosen = (await client.get(html.unescape(groups[0][1]))).text
        assert re.findall(r"<code>(SM\d{3})", chosen) == ["SM001", "SM000"]
        (replay,) = re.findall(r'href="([^"]+)">Replay all dead of this error', chosen)
        asked = await client.get(html.unescape(replay))
        assert "Replay 2 dead messages with KeyError?" in asked.text


async def test_a_discard_of_a_dead_message_waits_and_is_carried_out_at_the_end(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        for n in (1, 2):
            await store.accept(inbound(f"SM{n}", f"{n}"))
        await store.settle(await claim_one(store), Settlement(Trigger.GIVE_UP, "KeyError"))
        dashboard = Dashboard(lambda: store, look, Settings.load(env_file=None))
        transport = httpx2.ASGITransport(app=dashboard.app)
        client = PlainAsyncClient(transport=transport, base_url="http://127.0.0.1")
        async with dashboard.running(), client:
            for number in (1, 2):
                await client.post(f"/dashboard/messages/{number}/discard")
            assert await states(store) == [State.DISCARDED, State.DEAD]  # a live one at once
            assert "Undo" in (await client.get("/dashboard/messages/1")).text
        assert await states(store) == [State.DISCARDED, State.DISCARDED]


async def states(store: Store) -> list[State]:
    return [record.state for record in await store.find(Filter())]


async def test_pages_follow_each_other_without_gap_or_repetition(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        for n in range(120):
            await store.accept(inbound(f"SM{n:03}", f"{n % 2}"))
        seen: list[str] = []
        path: str | None = "/dashboard/messages?q=%2B15550"
        while path is not None:
            page = (await client.get(path)).text
            seen += re.findall(r"SM\d{3}", page)
            older = re.search(r'href="([^"]+)">Older<', page)
            path = older and html.unescape(older[1])
        assert seen == [f"SM{n:03}" for n in range(118, -1, -2)]


async def test_all_dead_of_one_person_are_replayed_and_no_others(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        for n in range(4):
            await store.accept(inbound(f"SM{n}", f"{n % 2}"))
            claim = await claim_one(store)
            await store.settle(claim, Settlement(Trigger.GIVE_UP, "ValueError"))
        path = "/dashboard/jobs?state=dead&q=%2B15550&do=replay"
        assert "Replay 2 dead messages?" in (await client.get(path)).text
        job = (await agree(client, path)).headers["location"]
        while "2 of 2 replayed" not in (await client.get(job)).text:
            await store.find(Filter())  # gives way to it
        dead = await store.find(Filter(state=State.DEAD))
        assert [record.sid for record in dead] == ["SM3", "SM1"]


async def test_what_came_after_somebody_had_looked_is_left_alone(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):

        async def fail(sid: str) -> None:
            await store.accept(inbound(sid))
            await store.settle(await claim_one(store), Settlement(Trigger.GIVE_UP, "ValueError"))

        await fail("SM1")
        path = "/dashboard/jobs?state=dead&do=discard"
        seen = await fields_of(client, path)
        await fail("SM2")
        job = (await client.post(path, data=seen)).headers["location"]
        while "1 of 1 discarded" not in (await client.get(job)).text:
            await store.find(Filter())  # gives way to it
        assert [one.sid for one in await store.find(Filter(state=State.DEAD))] == ["SM2"]
        unsaid = await client.post(path)
        assert unsaid.status_code == HTTPStatus.BAD_REQUEST


async def test_a_message_that_is_at_work_is_neither_replayed_nor_discarded(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        await store.accept(inbound("SM1"))
        claim = await claim_one(store)
        for doing in ("replay", "discard"):
            refused = await client.post(f"/dashboard/messages/{claim.id}/{doing}")
            assert refused.status_code == HTTPStatus.BAD_REQUEST
            assert "it is now running" in refused.text
        await store.settle(claim, Settlement(Trigger.GIVE_UP, "ValueError: <b>no</b>"))
        page = await client.get(f"/dashboard/messages/{claim.id}?reveal=1")
        assert "&lt;b&gt;no&lt;/b&gt;" in page.text
        foreign = await client.post(f"/dashboard/messages/{claim.id}/replay", content="csrf=other")
        assert foreign.status_code == HTTPStatus.BAD_REQUEST
        done = await client.post(f"/dashboard/messages/{claim.id}/replay")
        assert done.headers["location"] == f"/dashboard/messages/{claim.id}"


async def test_a_store_that_is_away_is_said_and_the_overview_is_there() -> None:
    def store() -> Store:
        raise StoreUnavailable("nobody answers")

    dashboard = Dashboard(store, look, Settings.load(env_file=None))
    transport = httpx2.ASGITransport(app=dashboard.app)
    async with (
        dashboard.running(),
        PlainAsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        inbox = await client.get("/dashboard/messages")
        assert inbox.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert "nobody answers" in inbox.text
        overview = await client.get("/dashboard")
        assert overview.status_code == HTTPStatus.OK
        assert "The store cannot be read" in overview.text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "less than a second"),
        (3, "3 s"),
        (7500, "2 h 5 min"),
        (7203, "2 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_how_long_something_lasts_is_said_in_its_two_largest_units(
    seconds: float, said: str
) -> None:
    assert span(seconds).replace("\N{NO-BREAK SPACE}", " ") == said


# Streams and jobs


async def test_the_store_is_asked_once_a_second_however_many_look_at_the_overview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.admin.streams._CACHED", 60.0)

    async with visited(tmp_path) as (client, store):
        find, asked = store.find, 0

        async def counted(wanted: Filter) -> Sequence[Record]:
            nonlocal asked
            asked += 1
            return await find(wanted)

        store.find = counted  # type: ignore[method-assign]
        pages = await asyncio.gather(*(client.get("/dashboard") for _ in range(5)))
        assert {page.status_code for page in pages} == {HTTPStatus.OK}
        assert asked == 1


async def test_what_is_a_second_old_is_asked_for_anew() -> None:
    now = 100.0
    answers: list[str | Exception] = ["first", StoreUnavailable("away"), "second"]

    async def ask() -> str:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    recent = Cached(ask, clock=lambda: now)
    assert [await recent.get(), await recent.get()] == ["first", "first"]
    now += 1.0
    with pytest.raises(StoreUnavailable):
        await recent.get()
    assert await recent.get() == "second"


async def test_a_stream_tells_what_differs_and_when_the_store_is_away() -> None:
    looks: list[str | Exception] = ["one", "one", StoreUnavailable("gone"), "two"]

    async def make() -> View:
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return View("page.html", {"piece": "piece.html", "still": "still.html"}, {"text": found})

    def render(name: str, **values: Any) -> str:
        return str(values["text"]) if name == "piece.html" else "the same"

    streams = Streams(render)
    told = []
    async for event in streams.follow(make, period=0.0, csrf=""):
        told.append(event)
        if not looks:
            streams.close()
    assert told == [
        "retry: 1000\n\n",
        'event: pieces\ndata: {"piece": "one", "still": "the same"}\n\n',
        ":\n\n",
        'event: away\ndata: "gone"\n\n',
        'event: pieces\ndata: {"piece": "two"}\n\n',
    ]


MANY = 300  # are replayed in 6 s


async def test_a_job_is_stopped_between_two_messages_and_there_is_one_at_a_time(
    tmp_path: Path,
) -> None:
    async with visited(tmp_path) as (client, store):
        await asyncio.gather(*(store.accept(inbound(f"SM{n}", f"{n}")) for n in range(MANY)))
        failed = Settlement(Trigger.GIVE_UP, "ValueError")
        await asyncio.gather(*(store.settle(one, failed) for one in await claim(store, MANY)))
        job = (await agree(client, "/dashboard/jobs?state=dead&do=replay")).headers["location"]
        another = await agree(client, "/dashboard/jobs?state=dead&do=discard")
        assert another.status_code == HTTPStatus.BAD_REQUEST
        assert "another job is running" in another.text.lower()
        assert (
            "Another job is running"
            in (await client.get("/dashboard/jobs?state=dead&do=discard")).text
        )
        await client.post(f"{job}/stop")
        while "Stopped." not in (await client.get(job)).text:
            await store.find(Filter())  # gives way to it
        dead = (await store.counts()).messages[State.DEAD]
        assert 0 < dead < MANY
        assert f"{dead} left unchanged" in (await client.get(job)).text
