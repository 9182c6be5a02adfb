"""The commands for operators, on a store as a worker leaves it."""

import asyncio
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from rich.console import Console

from offhook.cli.messages_view import records_table
from offhook.cli.options import parse_time
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery, SendTrigger, State, Trigger
from offhook.stores import open_store
from offhook.stores.api import Draft, Record, SendOutcome, Settlement
from testing.commands import Call, Home
from testing.stores import claim_one, opened
from tests.cli.terminal import on_a_terminal
from tests.docs.json_fields import assert_documented

ANN, BOB = "+15551230001", "+15551230002"
TRACEBACK = 'Traceback ...\n  File "bot.py", line 7\nValueError: can not read: my secret'


def inbound(sid: str, sender: str, body: str) -> Inbound:
    return Inbound(
        kind=Kind.MESSAGE, key=sid.encode().ljust(16), lane=sender, account_sid="AC1", sid=sid,
        sender=sender, recipient="+15005550006", form=f"MessageSid={sid}&Body={body}".encode(),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> None:
    """Make a store with a dead message of Ann's, and one of Bob's that waits."""

    async def fill() -> None:
        store = open_store(f"sqlite:///{tmp_path}/offhook.db")
        await store.open()
        await store.accept(inbound("SM1", ANN, "my+secret"))
        (claim,) = (await store.claim(1, lease=30.0, owner="w1", alone=False)).claims
        reply = Draft("reply:0", "AC1", "+15005550006", ANN, "Hello, my secret")
        await store.write(claim, [reply])
        (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        refused = SendOutcome(SendTrigger.REFUSE, error=f"The number {ANN} is odd.")
        await store.settle_send(sending, refused)
        notice = Draft("notice:failure", "AC1", "+15005550006", ANN, "Sorry, my secret")
        await store.settle(claim, Settlement(Trigger.GIVE_UP, error=TRACEBACK, drafts=(notice,)))
        await store.accept(inbound("SM2", BOB, "hello"))
        await store.close()

    asyncio.run(fill())


def objects(call: Call, *arguments: str) -> list[dict[str, Any]]:
    shown = call(*arguments, "--json")
    assert shown.status == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_list_filters_and_is_newest_first(call: Call) -> None:
    assert [one["sid"] for one in objects(call, "messages", "list")] == ["SM2", "SM1"]
    assert [one["sid"] for one in objects(call, "messages", "list", "--state", "dead")] == ["SM1"]
    assert [one["sid"] for one in objects(call, "messages", "list", "--sender", BOB)] == ["SM2"]
    assert [one["sid"] for one in objects(call, "messages", "list", "--limit", "1")] == ["SM2"]
    assert objects(call, "messages", "list", "--until", "1h") == []
    assert len(objects(call, "messages", "list", "--since", "1h")) == 2
    assert call("messages", "list", "--sid", "SM3").stdout == "no messages\n"


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["show", "1"]])
def test_numbers_and_texts_show_only_when_revealed(call: Call, command: list[str]) -> None:
    hidden = call("messages", *command).stdout
    assert "+1555***0001" in hidden
    assert "ValueError" in hidden
    assert ANN not in hidden
    assert "secret" not in hidden
    revealed = call("messages", *command, "--reveal").stdout
    assert ANN in revealed
    assert "my secret" in revealed


def test_a_user_id_is_masked_as_a_number_is(call: Call, tmp_path: Path) -> None:
    user_id = "whatsapp:US.13491208655302741918"

    async def write() -> None:
        store = open_store(f"sqlite:///{tmp_path}/offhook.db")
        await store.open()
        form = urlencode({"From": f"whatsapp:{BOB}", "ExternalUserId": user_id}).encode()
        await store.accept(inbound("SM3", f"whatsapp:{BOB}", "hello")._replace(form=form))
        await store.close()

    asyncio.run(write())
    for command in ("list", "--limit", "1"), ("show", "3"):
        (hidden,) = objects(call, "messages", *command)
        assert hidden["user_id"] == "whatsapp:US.13***1918"
        (revealed,) = objects(call, "messages", *command, "--reveal")
        assert revealed["user_id"] == user_id
    assert user_id not in call("messages", "show", "3").stdout
    assert user_id in call("messages", "show", "3", "--reveal").stdout


def test_objects_have_the_documented_fields(call: Call) -> None:
    for reveal in ((), ("--reveal",)):
        only = ["`--reveal`"] * len(reveal)
        (listed,) = objects(call, "messages", "list", "--state", "dead", *reveal)
        assert_documented("a message", listed, *only)
        (shown,) = objects(call, "messages", "show", "1", *reveal)
        whole = ["`show`", *["`show --reveal`"] * len(reveal)]
        assert_documented("a message", shown, *only, *whole)
        assert_documented("`history`", shown["history"][0])
        assert_documented("`sends`", shown["sends"][0], *only)
    (counts,) = objects(call, "stats")
    assert_documented("`offhook stats`", counts)
    assert_documented("`not_delivered`", counts["not_delivered"][0])


def test_a_state_shows_its_keys_and_its_values_when_revealed(call: Call, tmp_path: Path) -> None:
    async def save() -> int:
        async with opened(tmp_path / "offhook.db") as store:
            await store.accept(inbound("SM-state", ANN, "hello"))
            run = await claim_one(store)
            await store.settle(
                run, Settlement(Trigger.COMPLETE, state=b'{"step":"age","name":"Ann"}')
            )
            return run.id

    show = ("messages", "show", str(asyncio.run(save())))
    (hidden,), (revealed,) = objects(call, *show), objects(call, *show, "--reveal")
    assert hidden["conversation_state"] == {"step": None, "name": None}
    assert revealed["conversation_state"] == {"step": "age", "name": "Ann"}
    assert "step, name" in call(*show).stdout
    assert "Ann" not in call(*show).stdout
    assert '{"step": "age", "name": "Ann"}' in call(*show, "--reveal").stdout


def test_show_tells_the_whole_story(call: Call) -> None:
    (story,) = objects(call, "messages", "show", "1")
    assert [step["trigger"] for step in story["history"]] == ["give-up"]
    assert [(send["identity"], send["state"]) for send in story["sends"]] == [
        ("reply:0", "failed"),
        ("notice:failure", "pending"),
    ]
    (story,) = objects(call, "messages", "show", "1", "--reveal")
    assert story["parameters"] == {"MessageSid": "SM1", "Body": "my secret"}
    assert TRACEBACK in call("messages", "show", "1", "--reveal").stdout


def test_a_number_finds_the_person_in_every_channel(call: Call, tmp_path: Path) -> None:
    async def write() -> None:
        store = open_store(f"sqlite:///{tmp_path}/offhook.db")
        await store.open()
        for number, channel in enumerate(("whatsapp:", "rcs:", "whatsapp:"), start=3):
            await store.accept(inbound(f"SM{number}", f"{channel}{BOB}", "hello"))
        await store.close()

    asyncio.run(write())
    for number in (BOB, "+1 (555) 123-0002", f"whatsapp:{BOB}"):
        listed = objects(call, "messages", "list", "--sender", number)
        assert [one["sid"] for one in listed] == ["SM5", "SM4", "SM3", "SM2"]
    (first,) = objects(call, "messages", "list", "--sender", BOB, "--limit", "1")
    listed = objects(call, "messages", "list", "--sender", BOB, "--before", str(first["id"]))
    assert [one["sid"] for one in listed] == ["SM4", "SM3", "SM2"]
    arguments = ("messages", "discard", "--all", "--state", "open", "--sender", BOB, "--yes")
    assert objects(call, *arguments)[0]["discarded"] == 4


def test_why_a_reply_was_not_delivered_is_shown(call: Call, tmp_path: Path) -> None:
    async def deliver() -> None:
        store = open_store(f"sqlite:///{tmp_path}/offhook.db")
        await store.open()
        (sending,) = (
            await store.claim_sends(1, lease=30.0, owner="w1")
        ).claims  # the notice to Ann
        await store.settle_send(sending, SendOutcome(SendTrigger.ACCEPT, sid="SM9"))
        said = Delivery("undelivered", "63049")
        await store.record_delivery(None, "SM9", said, account_sid=sending.draft.account_sid)
        form = b"MessageSid=SM9&MessageStatus=undelivered&ErrorCode=63049"
        await store.accept(inbound("SM9", BOB, "")._replace(kind=Kind.STATUS, form=form))
        await store.close()

    asyncio.run(deliver())
    (story,) = objects(call, "messages", "show", "1")
    refused, undelivered = story["sends"]
    assert (refused["error_code"], refused["error"]) == (None, "The number +1555***0001 is odd.")
    assert (undelivered["delivery"], undelivered["error_code"]) == ("undelivered", "63049")
    assert undelivered["error"].startswith("Meta did not deliver the message")
    shown = call("messages", "show", "1").stdout
    assert "undelivered, undelivered" not in shown
    assert "63049: Meta did not deliver the message" in shown
    assert "63049: Meta did not deliver the message" in shown

    (status,) = objects(call, "messages", "list", "--kind", "status")
    assert (status["status"], status["error_code"]) == ("undelivered", "63049")
    assert_documented("a message", status, "statuses")
    assert "undelivered 63049" in call("messages", "list", "--kind", "status").stdout
    shown = call("messages", "show", str(status["id"])).stdout
    assert "undelivered, 63049: Meta did not deliver" in shown


@pytest.mark.parametrize("reveal", [False, True])
@pytest.mark.parametrize("width", [50, 80, 100, 140, 200])
def test_a_list_is_readable_however_long_its_parts_are(width: int, reveal: bool) -> None:
    far = f"rcs:{'agent' * 30}"
    records = [
        record(
            12_345, sender=far, recipient=far, body="long " * 99, error="ValueError: " + "x" * 999
        ),
        record(7, sender=f"whatsapp:{ANN}", body="short\ntext", error="TimeoutError"),
    ]
    screen = Console(width=width, file=io.StringIO(), highlight=False)
    screen.print(records_table(records, reveal=reveal, width=width))
    assert isinstance(screen.file, io.StringIO)
    heading, long, short = screen.file.getvalue().splitlines()
    assert all(len(line.rstrip()) <= width for line in (heading, long, short))
    assert long.startswith("12345  dead")
    assert short.startswith("    7  dead")
    assert "ValueErr" in long
    assert "TimeoutError" in short
    if width >= 80:
        assert " d ago " in long
        assert ANN[-4:] in short
    assert ("long long" in long) is reveal
    assert ("short text" in short) is reveal
    assert ("SM0000" in short) is (width == 200 or (width == 140 and not reveal))


def test_a_list_fits_the_terminal(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for width in (80, 100, 140):
        with on_a_terminal(
            home, "messages", "list", "--reveal", "--sender", ANN, columns=width
        ) as terminal:
            assert terminal.end() == 0
        heading, line = re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown).splitlines()
        assert max(len(heading.rstrip()), len(line.rstrip())) <= width
        assert re.match(r" *1  dead   \d+ \w+ ago +\+15551230001 ", line), line
        assert "my secret" in line
        assert "ValueError: can not read" in line


def record(id_: int, *, sender: str, body: str, error: str, recipient: str = BOB) -> Record:
    return Record(
        id=id_, kind=Kind.MESSAGE, state=State.DEAD, sid=f"SM{id_:032}", account_sid="AC1",
        sender=sender, recipient=recipient, lane="lane", attempts=3, crashes=0,
        received=1764417600.0, started=None, settled=None, due=None, error=error,
        form=urlencode({"Body": body}).encode(), spooled=False, reduced=False,
    )  # fmt: skip


def test_replay_and_discard_do_what_can_be_done_and_say_what_can_not(call: Call) -> None:
    assert call("messages", "replay", "1").stdout == "1 replayed\n"
    assert objects(call, "messages", "list", "--sid", "SM1")[0]["state"] == "open"

    refused = call("messages", "replay", "2", "99")
    assert refused.status == 1
    assert "2 not replayed: it is open" in refused.stdout
    assert "99 not replayed: there is no such" in refused.stdout

    assert objects(call, "messages", "discard", "1", "2") == [
        {"id": 1, "ok": True, "error": ""},
        {"id": 2, "ok": True, "error": ""},
    ]
    assert {one["state"] for one in objects(call, "messages", "list")} == {"discarded"}


def test_replay_keeps_the_history_of_attempts(call: Call) -> None:
    call("messages", "replay", "1")
    (story,) = objects(call, "messages", "show", "1")
    assert [step["trigger"] for step in story["history"]] == ["give-up", "replay"]
    shown = call("messages", "show", "1").stdout
    assert "attempt 1: give-up after" in shown
    assert "replay by an operator" in shown


def test_what_came_by_way_of_a_spool_and_what_was_not_kept_is_said(
    call: Call, tmp_path: Path
) -> None:
    async def settle() -> None:
        store = open_store(f"sqlite:///{tmp_path}/offhook.db")
        await store.open()
        await store.accept(inbound("SM3", BOB, "my secret")._replace(age=60.0, spooled=True))
        for claim in (await store.claim(9, lease=30.0, owner="w1", alone=False)).claims:
            await store.settle(claim, Settlement(Trigger.COMPLETE))
        for claim in (await store.claim(9, lease=30.0, owner="w1", alone=False)).claims:
            await store.settle(claim, Settlement(Trigger.COMPLETE))
        assert await store.reduce(100) == 2
        await store.close()

    asyncio.run(settle())
    (story,) = objects(call, "messages", "list", "--sid", "SM3", "--reveal")
    assert (story["spooled"], story["reduced"], story["body"]) == (True, True, "")
    shown = call("messages", "show", "3", "--reveal").stdout
    assert "through a spool" in shown
    assert "not kept (OFFHOOK_KEEP_BODIES)" in shown
    refused = call("messages", "replay", "3")
    assert "3 not replayed: its text was not kept" in refused.stdout


def test_list_in_pages(call: Call) -> None:
    first = call("messages", "list", "--limit", "1")
    assert "SM2" in first.stdout
    assert "--before 2" in first.stderr
    assert [one["sid"] for one in objects(call, "messages", "list", "--before", "2")] == ["SM1"]


def test_a_message_that_is_not_there(call: Call) -> None:
    shown = call("messages", "show", "2", "99")
    assert shown.status == 1
    assert "SM2" in shown.stdout
    assert shown.stderr == "offhook: there is no message 99\n"


def test_stats(call: Call) -> None:
    (counts,) = objects(call, "stats")
    assert counts["messages"] == {
        "open": 1, "running": 0, "waiting": 0, "parked": 0, "done": 0, "discarded": 0, "dead": 1,
    }  # fmt: skip
    assert counts["sends"]["pending"] == 1
    assert counts["received_last_minute"] == 2
    assert counts["settled_last_minute"] == 1
    assert counts["oldest_seconds"] >= 0
    assert counts["parked_seconds"] is None
    assert "dead" in call("stats").stdout


def test_stats_tells_of_replies_that_wait(call: Call) -> None:
    """It said "nothing waits" while Twilio took no replies."""
    call("messages", "discard", "2")
    (counts,) = objects(call, "stats")
    assert (counts["oldest_seconds"], counts["replies_waiting"]) == (None, 1)
    *table, reason, remedy = call("stats").stdout.splitlines()
    shown = dict(re.split(r" {2,}", line, maxsplit=1) for line in table)
    assert shown["oldest waiting"] == "none"
    assert shown["replies to be sent"].strip() == "1"
    assert reason == "1 reply was refused by Twilio: Their errors say why."
    assert remedy == "  offhook sends list --state failed"


def test_migrate_creates_a_store_and_leaves_one_as_it_is(call: Call) -> None:
    other = "sqlite:///other.db"
    assert "up to date" in call("migrate", "--store", other).stdout
    assert Path("other.db").stat().st_mode & 0o777 == 0o600
    assert call("migrate", "--store", other).status == 0
    assert objects(call, "messages", "list", "--store", other) == []
    assert call("migrate").status == 0
    assert len(objects(call, "messages", "list")) == 2


def test_a_store_that_can_not_be_made(call: Call) -> None:
    refused = call("migrate", "--store", "sqlite:////proc/nowhere/offhook.db")
    assert refused.status == 1
    assert len(refused.stderr.splitlines()) == 1


def test_moments() -> None:
    near: Callable[[float], object] = lambda wanted: pytest.approx(wanted, abs=5)  # noqa: E731 - short
    now = parse_time("0s")
    assert parse_time("10m") == near(now - 600)
    assert parse_time("2h") == near(now - 7200)
    assert parse_time("3d") == near(now - 3 * 86400)
    assert parse_time("2026-11-24T12:00:00+01:00") == 1795518000
