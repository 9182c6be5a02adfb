"""Commands say which replies meet WhatsApp's closed window, and send templates for them."""

import asyncio
import json
from pathlib import Path

import pytest

from offhook.core.lifecycle import Trigger
from offhook.core.whatsapp_window import WINDOW
from offhook.stores.api import SendClaim, Settlement
from testing.commands import Call
from testing.stores import claim_one, inbound, opened

OURS = "whatsapp:+15005550006"
ANN, BOB = "whatsapp:+15551230001", "whatsapp:+15551230002"
SID = "HX" + "0" * 32
ASKED = ("--fallback", SID, "--fallback-variables", '{"1": "Ada"}')


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a store in which Ann has written twice, a day ago and now; Bob long ago."""
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "0" * 32)
    monkeypatch.setenv("OFFHOOK_SENDER", OURS)

    async def fill() -> None:
        heard = [(ANN, 2 * WINDOW), (BOB, 2 * WINDOW), (BOB, 3 * WINDOW), (ANN, 0.0)]
        async with opened(tmp_path / "offhook.db") as store:
            for number, (person, age) in enumerate(heard):
                said = inbound(f"SM{number}", person)
                await store.accept(said._replace(sender=person, recipient=OURS, age=age))
                dead = Settlement(Trigger.GIVE_UP, error="no")
                await store.settle(await claim_one(store), dead)

    asyncio.run(fill())


def claim(directory: Path) -> SendClaim:
    async def claim_sends() -> SendClaim:
        async with opened(directory / "offhook.db") as store:
            (one,) = (await store.claim_sends(10, lease=30.0, owner="w")).claims
            return one

    return asyncio.run(claim_sends())


def test_a_dry_run_tells_how_many_replies_come_too_late(call: Call) -> None:
    options = ("messages", "replay", "--all", "--state", "dead", "--dry-run")
    told = json.loads(call(*options, "--json").stdout)
    assert (told["matched"], told["window_closed"]) == (4, 2)
    said = call(*options).stdout
    assert "2 of them: the person has not written on WhatsApp for 24 hours" in said
    assert "only when the handlers run" in said
    assert "24 hours" not in call(*options, "--sender", ANN).stdout


def test_a_message_goes_as_its_fallback_when_the_window_is_closed(
    call: Call, tmp_path: Path
) -> None:
    assert call("send", BOB, "hello", *ASKED).status == 0
    one = claim(tmp_path)
    assert (one.draft.content_sid, one.draft.content_variables) == (SID, {"1": "Ada"})
    why = "the person had not written for 24 hours"
    for show in (("list",), ("show", str(one.id))):
        shown = " ".join(call("sends", *show).stdout.split())
        told = json.loads(call("sends", *show, "--json").stdout)
        assert f"template {SID} instead of the text: {why}" in shown or show == ("list",)
        assert (told["template"], told["fallback_reason"]) == (SID, why)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--fallback", "HX12"), "HX and 32 hexadecimal digits"),
        (("--fallback", SID, "--fallback-variables", "{'1': 2}"), "is no JSON"),
        (("--fallback", SID, "--fallback-variables", '{"1": 2}'), "variables are str"),
        (("--fallback-variables", "{}"), "HX and 32"),
    ],
)
def test_what_is_no_template_is_not_written(call: Call, options: tuple[str, ...], why: str) -> None:
    ended = call("send", BOB, "hello", *options)
    assert ended.status == 2
    assert why in " ".join(ended.stderr.replace("│", "").split())
    assert call("sends", "list", "--json").stdout == ""
