"""`offhook sends`: what was not delivered is found, sent again or left, and no handler runs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery, SendState, SendTrigger, State, Trigger
from offhook.stores.api import Draft, SendOutcome, Settlement, Store
from testing.commands import Call
from testing.stores import opened
from tests.docs.json_fields import assert_documented

T = TypeVar("T")
ANN, BOB, CARL, DAN = (f"+1555123000{n}" for n in range(1, 5))
OURS = "+15005550006"
ACCEPTED = SendOutcome(SendTrigger.ACCEPT, sid="SMout", status="queued")
OUTCOMES = {
    ANN: SendOutcome(SendTrigger.POSTPONE, error_code="63038", error="A limit.", delay=9000.0),
    BOB: SendOutcome(SendTrigger.REFUSE, error_code="21610", error=f"{BOB} has opted out."),
    CARL: ACCEPTED,
    f"whatsapp:{DAN}": SendOutcome(SendTrigger.LOSE, error="no answer was read"),
}


def inbound(sender: str) -> Inbound:
    return Inbound(
        kind=Kind.MESSAGE, key=sender.encode().ljust(16)[-16:], lane=sender, account_sid="AC1",
        sid=f"SM{sender}", sender=sender, recipient=OURS, form=b"Body=hello",
    )  # fmt: skip


async def fill(store: Store) -> None:
    """Answer four people: one waits, one is refused, one gets nothing, of one nothing is known."""
    for person, outcome in OUTCOMES.items():
        await store.accept(inbound(person))
        (running,) = (await store.claim(1, lease=30.0, owner="w1", alone=False)).claims
        reply = Draft("return:0", "AC1", OURS, person, f"secret of {person}")
        await store.settle(running, Settlement(Trigger.COMPLETE, drafts=(reply,)))
        (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        await store.settle_send(sending, outcome)
    missed = Delivery("undelivered", "63016")
    assert await store.record_delivery(None, "SMout", missed, account_sid="AC1")


def ask(directory: Path, question: Callable[[Store], Awaitable[T]]) -> T:
    async def main() -> T:
        async with opened(directory / "offhook.db") as store:
            return await question(store)

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> None:
    ask(tmp_path, fill)


def objects(call: Call, *arguments: str) -> list[dict[str, Any]]:
    shown = call("sends", *arguments, "--json")
    assert shown.status == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def states(call: Call) -> list[str]:
    return [one["state"] for one in reversed(objects(call, "list"))]


async def send_all(store: Store) -> list[str]:
    """Send all that is due; return what went."""
    sent = []
    while claims := (await store.claim_sends(100, lease=30.0, owner="w1")).claims:
        for claim in claims:
            sent.append(claim.draft.body)
            await store.settle_send(claim, ACCEPTED)
    return sent


def test_each_is_found_by_what_is_known_of_it(call: Call) -> None:
    def ids(*filters: str) -> list[int]:
        return [one["id"] for one in objects(call, "list", *filters)]

    assert ids() == [4, 3, 2, 1]
    assert ids("--state", "pending") == ids("--code", "63038") == [1]
    assert ids("--state", "undelivered") == ids("--delivery", "undelivered") == [3]
    assert ids("--to", DAN) == [4]  # on any channel
    assert ids("--sender", OURS, "--limit", "2") == [4, 3]
    assert ids("--since", "1h", "--before", "3") == [2, 1]
    assert ids("--until", "1h") == []
    assert call("sends", "list", "--code", "30003").stdout == "no replies\n"
    (undelivered,) = objects(call, "list", "--state", "undelivered")
    assert_documented("a reply", undelivered)
    assert_documented("a reply", objects(call, "show", "1", "--reveal")[0], "`--reveal`")
    assert (undelivered["error_code"], undelivered["delivery"]) == ("63016", "undelivered")
    assert undelivered["error"].startswith("The person last wrote more than 24 hours ago")
    assert (undelivered["message"], undelivered["tries"], undelivered["due"]) == (3, 1, None)


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["show", "1", "2"]])
def test_numbers_and_texts_show_only_when_revealed(call: Call, command: list[str]) -> None:
    hidden = call("sends", *command).stdout
    assert "+1555***0002" in hidden
    assert BOB not in hidden
    assert "secret" not in hidden
    revealed = call("sends", *command, "--reveal").stdout
    assert f"secret of {BOB}" in revealed


def test_show_says_what_is_known_and_what_is_not_there(call: Call) -> None:
    shown = call("sends", "show", "3", "99")
    assert shown.status == 1
    assert "send 3 undelivered" in shown.stdout
    assert "63016" in shown.stdout
    assert "there is no reply 99" in shown.stderr


def test_what_was_not_delivered_is_sent_again_and_no_handler_runs(
    call: Call, tmp_path: Path
) -> None:
    every = ("retry", "--all", "--state", "undelivered")
    shown = call("sends", *every, "--dry-run")
    assert (shown.status, "1 replies would be retried" in shown.stdout) == (0, True)
    (told,) = objects(call, *every, "--dry-run")
    assert (told["matched"], told["retried"], told["first"][0]["id"]) == (1, 0, 3)
    assert states(call) == ["pending", "failed", "undelivered", "unknown"]

    (told,) = objects(call, *every, "--yes")
    assert told == {
        "matched": 1, "retried": 1, "refused": 0, "untouched": 0, "interrupted": False, "error": "",
    }  # fmt: skip
    assert states(call) == ["pending", "failed", "replaced", "unknown", "pending"]
    assert ask(tmp_path, send_all) == [f"secret of {CARL}"]
    assert call("sends", *every, "--yes").stdout == "0 of 0 retried\n"
    counts = ask(tmp_path, lambda store: store.counts())
    assert counts.messages[State.DONE] == len(OUTCOMES)


def test_by_id_each_says_what_became_of_it(call: Call, tmp_path: Path) -> None:
    shown = call("sends", "retry", "1", "2", "3", "4", "5")
    assert shown.status == 1
    assert shown.stdout.splitlines() == [
        "1 retried",
        "2 retried",
        "3 retried, as 5",
        "4 not retried: it is unknown: the person may have had it (see --unknown of `sends retry`)",
        "5 retried",
    ]
    assert ask(tmp_path, send_all) == [f"secret of {person}" for person in (ANN, BOB, CARL)]
    shown = call("sends", "retry", "1", "3", "99", "--json")
    assert_documented("a change", json.loads(shown.stdout.splitlines()[0]))
    assert shown.status == 1
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [
        {"id": 1, "ok": False, "error": "it is sent"},
        {"id": 3, "ok": False, "error": "another reply has taken its place"},
        {"id": 99, "ok": False, "error": "there is no such reply"},
    ]


def test_what_a_person_may_have_had_is_sent_only_if_that_is_said(
    call: Call, tmp_path: Path
) -> None:
    every = ("retry", "--all", "--state", "unknown", "--yes")
    shown = call("sends", *every)
    assert (shown.status, "add --unknown" in shown.stderr) == (2, True)
    assert states(call)[3] == "unknown"
    assert call("sends", *every, "--unknown").stdout == "1 of 1 retried\n"
    assert ask(tmp_path, send_all) == [f"secret of whatsapp:{DAN}"]


def test_a_retry_names_the_send_that_goes_in_its_place(call: Call) -> None:
    (replaced,) = objects(call, "retry", "3")
    assert replaced == {"id": 3, "ok": True, "error": "", "now": 5}
    assert_documented("a change", replaced, "`sends retry`")
    assert objects(call, "retry", "4", "--unknown")[0]["now"] == 6


def test_what_is_cancelled_is_not_sent(call: Call, tmp_path: Path) -> None:
    assert call("sends", "cancel", "1", "2", "3").stdout == "".join(
        f"{id_} cancelled\n" for id_ in (1, 2, 3)
    )
    assert states(call) == ["canceled", "canceled", "canceled", "unknown"]
    assert call("sends", "cancel", "4").status == 1
    assert call("sends", "retry", "1").stdout == "1 not retried: it is canceled\n"
    assert ask(tmp_path, send_all) == []


def test_a_filter_chooses_what_is_cancelled(call: Call) -> None:
    every = ("cancel", "--all", "--state", "failed", "--yes")
    assert call("sends", *every, "--code", "30003").stdout == "0 of 0 cancelled\n"
    assert call("sends", *every, "--code", "21610", "--to", BOB).stdout == "1 of 1 cancelled\n"
    assert states(call) == ["pending", "canceled", "undelivered", "unknown"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all",),
        ("--all", "--code", "63016"),
        ("3", "--all", "--state", "undelivered"),
        ("--state", "undelivered"),
        ("3", "--code", "63016"),
        ("3", "--dry-run"),
        ("--all", "--state", "undelivered"),  # nobody there to be asked
        ("--all", "--state", "gone", "--yes"),
        ("--all", "--state", "sent", "--yes"),
    ],
)
def test_what_might_mean_more_than_was_thought_of_is_refused(
    call: Call, arguments: tuple[str, ...]
) -> None:
    for verb in ("retry", "cancel"):
        assert call("sends", verb, *arguments).status == 2
    assert states(call) == ["pending", "failed", "undelivered", "unknown"]


def test_a_send_that_is_under_way_is_left_alone(call: Call, tmp_path: Path) -> None:
    assert objects(call, "retry", "1")[0]["ok"]
    ask(tmp_path, lambda store: store.claim_sends(1, lease=30.0, owner="w1"))
    for verb in ("retry", "cancel"):
        shown = call("sends", verb, "1")
        assert (shown.status, "it is sending" in shown.stdout) == (1, True)
    counts = ask(tmp_path, lambda store: store.counts())
    assert counts.sends[SendState.SENDING] == 1
