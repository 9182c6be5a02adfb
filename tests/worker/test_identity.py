"""A person with a number and a user id is one person to handlers, to limits and to sends."""

from pathlib import Path

from offhook.core.lifecycle import State
from offhook.core.messages import Reply
from offhook.worker.message import Message
from offhook.worker.send_requests import RequestWriter
from tests.worker.support import handled_by, opened, serving

NUMBER, USER_ID = "whatsapp:+15551230001", "whatsapp:US.13491208655302741918"
OURS = "whatsapp:+15005550006"


async def test_number_and_user_id_are_one_person(tmp_path: Path) -> None:
    history: list[list[str]] = []

    async def answer(message: Message) -> str:
        assert message.user_id == USER_ID
        history.append([turn.body for turn in await message.conversation.history()])
        return f"re {message.body}"

    limit = {"sender_limit": (3, 1e9), "limit_notice": ""}
    async with opened(tmp_path, handled_by(answer), **limit) as line:
        sids = [
            await line.receive("a", sender=NUMBER, To=OURS, ExternalUserId=USER_ID),
            await line.receive("b", sender=USER_ID, To=OURS),
            await line.receive("c", sender=NUMBER, To=OURS, ExternalUserId=USER_ID),
            await line.receive("d", sender=USER_ID, To=OURS),
        ]
        async with serving(line):
            await line.told.runs(4)
        assert history == [[], ["a", "re a"], ["a", "b", "re a", "re b"]]
        assert [await line.state(sid) for sid in sids] == [*[State.DONE] * 3, State.PARKED]
        sent = [send for sid in sids for send in (await line.ledger(sid)).values()]
        assert [send.to for send in sent] == [NUMBER, USER_ID, NUMBER]


async def test_a_send_to_either_comes_from_the_number_that_the_person_wrote_to(
    tmp_path: Path,
) -> None:
    other = "whatsapp:+15005550007"
    async with opened(tmp_path, handled_by(lambda: None)) as line:
        await line.receive("a", sender=NUMBER, To=OURS, ExternalUserId=USER_ID)
        await line.receive("b", sender=USER_ID, To=other)
        writer = RequestWriter(line.store, line.settings, line.told)
        for to in (NUMBER, USER_ID):
            await writer.write(to, Reply(to), key=None, delay=0.0, from_="", unless_reply=False)
        claims = (await line.store.claim_sends(9, lease=30.0, owner="w")).claims
        assert {(one.draft.sender, one.draft.to) for one in claims} == {
            (other, NUMBER), (other, USER_ID)
        }  # fmt: skip
