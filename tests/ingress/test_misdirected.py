"""What Twilio sends to the messages' URL that is no message: statuses, other products' events."""

import json
from pathlib import Path

import pytest

from offhook.core.keys import Kind
from offhook.core.signature import sign, with_body_sha256
from offhook.events import Problem, Topic
from offhook.ingress.validation import DIAGNOSIS_INTERVAL
from offhook.stores.api import Filter
from testing.webhooks import (
    ACCOUNT,
    PUBLIC,
    STATUS,
    TOKEN,
    TWIML,
    changed,
    line,
    refused,
    request,
)
from tests.ingress.test_reception import watching, webhook

# https://www.twilio.com/docs/conversations/conversations-webhooks#onmessageadded
CONVERSATION = (
    ("EventType", "onMessageAdded"), ("ConversationSid", "CH" + "1" * 32),
    ("MessageSid", "IM" + "2" * 32), ("MessagingServiceSid", "MG" + "3" * 32), ("Index", "0"),
    ("DateCreated", "2026-11-29T10:00:00.000Z"), ("Body", "hello"), ("Author", "+14155550199"),
    ("ParticipantSid", "MB" + "4" * 32), ("Attributes", "{}"), ("Source", "SMS"),
    ("AccountSid", ACCOUNT), ("ChatServiceSid", "IS" + "5" * 32), ("RetryCount", "0"),
)  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {"MessageStatus": "sent", "SmsStatus": "sent"},
        {"MessageStatus": "sent", "SmsStatus": None},
        {"MessageStatus": None, "SmsStatus": "failed"},
    ],
)
async def test_a_status_at_the_messages_route_is_recorded_as_one(
    tmp_path: Path, said: dict[str, str | None]
) -> None:
    fields = changed(STATUS, **said)

    async with line(tmp_path) as running:
        got = await running.post("/twilio/messages", fields)
        assert (got.status, got.body, got.headers["content-type"]) == (200, TWIML, "text/xml")
        assert len(await running.store.find(Filter(kind=Kind.STATUS))) == 1
        assert await running.store.find(Filter(kind=Kind.MESSAGE)) == []
        assert (await running.answered()).error == ""
        (problem,) = running.problems
        assert problem.topic is Topic.STATUS_AT_MESSAGES
        assert f"{PUBLIC}/twilio/status" in problem.text
        # At the right route it is a repeat of itself, and nothing is to be told.
        assert (await running.post("/twilio/status", fields)).status == 204
        assert (await running.answered()).repeat
        assert len(running.problems) == 1


async def test_a_status_at_the_messages_route_is_told_at_a_pace(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        for n, after in enumerate((0.0, 0.1, DIAGNOSIS_INTERVAL / 2, DIAGNOSIS_INTERVAL + 0.1)):
            sid = f"SM{n:032x}"
            status = changed(STATUS, MessageSid=sid, SmsSid=sid)
            assert (await watched.process(webhook(status, started=100.0 + after))).status == 200
        told = [event for event in watched.events if isinstance(event, Problem)]
        assert len(told) == 2


async def test_a_message_says_that_it_was_received(tmp_path: Path) -> None:
    async with line(tmp_path) as running:
        assert (await running.post()).status == 200
        (stored,) = await running.stored()
        assert stored.kind is Kind.MESSAGE
        await running.answered()
        assert running.problems == []


async def test_an_event_of_conversations_has_a_name_and_a_hint(tmp_path: Path) -> None:
    async with line(tmp_path) as running:
        sent = running.post("/twilio/messages", CONVERSATION)
        told = await refused(running, sent, 400, "conversations-event")
        assert "offhook connect" in told.detail


async def test_signed_json_has_a_name_and_a_hint_and_unsigned_has_none(tmp_path: Path) -> None:
    body = json.dumps({"flow": "FW1", "body": "hello"}).encode()
    url = with_body_sha256(f"{PUBLIC}/twilio/messages", body)
    headers = {
        "Content-Type": "application/json",
        "X-Twilio-Signature": sign(url=url, auth_token=TOKEN),
    }
    target = url.removeprefix(PUBLIC)

    async with line(tmp_path) as running:
        sent = running.exchange(request("POST", target, body, headers))
        told = await refused(running, sent, 415, "json-body")
        assert "Studio" in told.detail
        got = await running.exchange(request("POST", target, body + b" ", headers))
        assert got.error == "unsupported-content-type"
