"""What was said in a conversation, by either side."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from offhook.core import turns
from offhook.core.inbound import Inbound
from offhook.core.lifecycle import Delivery, SendTrigger, Trigger
from offhook.core.messages import Attachment
from offhook.stores.api import Draft, SendOutcome, SendRequest, Settlement, Store, TurnFilter
from testing.stores import DONE, claim_one, draft, inbound, opened

ANN = "+15551"  # as `inbound` names the sender of lane 1


def said(sid: str, body: str, lane: str = "1", **more: str) -> Inbound:
    form = {"MessageSid": sid, "From": ANN, "Body": body, **more}
    return inbound(sid, lane)._replace(sender=ANN, form=urlencode(form).encode())


def to_ann(identity: str, body: str) -> Draft:
    return replace(draft(identity, body), to=ANN)


async def bodies(store: Store, lane: str = "1", limit: int = 20, asking: int = 0) -> Sequence[str]:
    wanted = TurnFilter(lane, (ANN,), limit, asking or None)
    return [f"{turn.direction[:1]} {turn.body}" for turn in await store.turns(wanted)]


async def send_next(store: Store, trigger: SendTrigger = SendTrigger.ACCEPT) -> None:
    (one,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
    sid = "SMout" if trigger is SendTrigger.ACCEPT else ""
    await store.settle_send(one, SendOutcome(trigger, sid=sid))


async def test_both_sides_are_told_by_time_and_only_of_their_conversation(url: str) -> None:
    async with opened(url) as store:
        for n in range(3):
            await store.accept(said(f"SM{n}", f"question {n}"))
            run = await claim_one(store)
            await store.settle(run, replace(DONE, drafts=(to_ann("return:0", f"answer {n}"),)))
            await store.accept(said(f"SM-other-{n}", "elsewhere", "2"))
            other = await claim_one(store)
            await store.settle(other, replace(DONE, drafts=(to_ann("return:0", "elsewhere"),)))
        everything = ["i question 0", "o answer 0", "i question 1", "o answer 1", "i question 2",
                      "o answer 2"]  # fmt: skip
        assert await bodies(store) == everything
        assert await bodies(store, limit=3) == everything[-3:]
        assert await bodies(store, limit=0) == []
        assert await bodies(store, "3") == []


async def test_a_turn_says_when_and_what_became_of_it(url: str) -> None:
    began = datetime.now(UTC)
    async with opened(url) as store:
        media = {"NumMedia": "1", "MediaUrl0": "https://m/1", "MediaContentType0": "image/png"}
        await store.accept(said("SM1", "", **media))
        reply = replace(to_ann("reply:0", "nice"), media=("https://our/pic.png",))
        await store.settle(await claim_one(store), replace(DONE, drafts=(reply,)))
        await send_next(store)
        assert await store.record_delivery(None, "SMout", Delivery("read"), account_sid="AC1")
        theirs, ours = await store.turns(TurnFilter("1", (ANN,)))
        assert (theirs.direction, theirs.sid, theirs.delivery) == ("inbound", "SM1", None)
        assert theirs.media == (Attachment("https://m/1", "image/png"),)
        assert (ours.direction, ours.sid, ours.body) == ("outbound", "SMout", "nice")
        assert (ours.media, ours.delivery) == (
            (Attachment("https://our/pic.png", ""),),
            Delivery("read"),
        )
        ended = datetime.now(UTC)
        assert began.timestamp() - 1 < theirs.at.timestamp() <= ours.at.timestamp()
        assert ours.at.timestamp() < ended.timestamp() + 1


async def test_who_asks_is_told_what_was_said_before(url: str) -> None:
    """The same in every attempt, but for what others have sent meanwhile."""
    async with opened(url) as store:
        await store.accept(said("SM1", "earlier"))
        await store.settle(await claim_one(store), Settlement(Trigger.DISCARD))
        await store.accept(said("SM2", "the question"))
        await store.accept(said("SM3", "behind it"))
        run = await claim_one(store)
        await store.write(run, [to_ann("reply:0", "one moment")])
        assert await bodies(store, asking=run.id) == ["i earlier"]
        await store.request(SendRequest("1", (to_ann("send:0", "by the way"),)))
        await store.settle(run, Settlement(Trigger.RETRY))
        again = await claim_one(store)
        assert await bodies(store, asking=again.id) == ["i earlier", "o by the way"]
        whole = ["i earlier", "i the question", "i behind it", "o one moment", "o by the way"]
        assert await bodies(store) == whole  # as operators see it


async def test_what_did_not_reach_the_person_is_not_told(url: str) -> None:
    async with opened(url) as store:
        await store.accept(said("SM1", "question"))
        names = ("refused", "undelivered", "unknown", "pending", "canceled")
        drafts = [to_ann(f"key:{name}", name) for name in names]
        template = replace(to_ann("key:template", "instead of this"), content_sid="HX1")
        elsewhere = replace(to_ann("key:elsewhere", "to another"), to="+15550002")
        run = await claim_one(store)
        written = await store.write(run, [*drafts, template, elsewhere])
        await store.settle(run, DONE)
        await send_next(store, SendTrigger.REFUSE)
        await send_next(store)
        undelivered = Delivery("undelivered", "30003")
        assert await store.record_delivery(None, "SMout", undelivered, account_sid="AC1")
        await send_next(store, SendTrigger.LOSE)
        assert await store.cancel_send(written[4].id)
        later = SendRequest("1", (to_ann("send:0", "tomorrow"),), delay=86_400.0)
        await store.request(later)
        assert await bodies(store) == ["i question", "o unknown", "o pending"]


async def test_texts_that_have_been_taken_out_are_left_out(url: str) -> None:
    async with opened(url) as store:
        await store.accept(said("SM1", "secret"))
        await store.settle(await claim_one(store), replace(DONE, drafts=(to_ann("r", "hush"),)))
        await send_next(store)
        await store.accept(said("SM2", "open"))
        assert await store.reduce(10) == 1
        assert await bodies(store) == ["i open"]
        await store.settle(await claim_one(store), DONE)
        assert (await store.erase(ANN, 100)).busy == 0
        assert await bodies(store) == []


async def test_a_long_conversation_is_not_read_to_its_beginning(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.startswith("sqlite"):  # PostgreSQL has the number in its statements
        monkeypatch.setattr(turns, "LOOKED_THROUGH", 3)
    async with opened(url) as store:
        inbounds = [said("SM0", "mine"), *(said(f"SM{n}", "other", "2") for n in range(1, 4))]
        await store.accept_all(inbounds)
        found = await bodies(store)
        assert found == ([] if url.startswith("sqlite") else ["i mine"])
        # The most that may be asked for is bounded, too.
        assert len(await store.turns(TurnFilter("2", (ANN,), limit=10**9))) == 3
