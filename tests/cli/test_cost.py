"""`offhook stats --cost`: what replies cost, by day and by conversation."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

from offhook.core.cost import Cost
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.stores.api import Draft, SendOutcome, Settlement, Store
from testing.commands import Call
from testing.stores import claim_one, inbound, opened
from tests.docs.json_fields import assert_documented

ANN, OURS = "+15551230001", "+15005550006"


async def fill(store: Store) -> None:
    for number, cost in enumerate((Cost(2, 15_800, "USD"), Cost(3))):
        await store.accept(inbound(f"SM{number}"))
        reply = Draft("return:0", "AC1", OURS, ANN, "hello")
        await store.settle(await claim_one(store), Settlement(Trigger.COMPLETE, drafts=(reply,)))
        (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        outcome = SendOutcome(SendTrigger.ACCEPT, sid=f"SMout{number}", cost=cost)
        await store.settle_send(sending, outcome)


async def filled(directory: Path) -> None:
    async with opened(directory / "offhook.db") as store:
        await fill(store)


def test_it_is_summed_up_for_people_and_for_scripts(call: Call, tmp_path: Path) -> None:
    asyncio.run(filled(tmp_path))
    shown = call("stats", "--cost", "--days", "2")
    assert shown.status == 0, shown.stderr
    assert "0.0158 USD" in shown.stdout
    assert ANN not in shown.stdout
    assert ANN in call("stats", "--cost", "--reveal").stdout

    found = json.loads(call("stats", "--cost", "--json", "--reveal", "--days", "2").stdout)
    priced = {"replies": 1, "segments": 2, "priced": 1, "price": "0.0158", "currency": "USD"}
    unpriced = {"replies": 1, "segments": 3, "priced": 0, "price": None, "currency": None}
    pair = {"from": OURS, "to": ANN}
    assert_documented("a cost", found["conversations"][0], "`conversations`")
    assert_documented("a cost", found["days"][0], "`days`")
    assert found["conversations"] == [{**pair, **unpriced}, {**pair, **priced}]
    assert [{**day, "day": ""} for day in found["days"]] == [
        {"day": "", **unpriced},
        {"day": "", **priced},
    ]
    assert all(datetime.fromisoformat(day["day"]).replace(tzinfo=UTC) for day in found["days"])


def test_a_store_without_replies_has_no_cost(call: Call, tmp_path: Path) -> None:
    async def made() -> None:
        async with opened(tmp_path / "offhook.db"):
            pass

    asyncio.run(made())
    assert json.loads(call("stats", "--cost", "--json").stdout) == {"days": [], "conversations": []}
    assert call("stats", "--cost", "--days", "0").status == 2
