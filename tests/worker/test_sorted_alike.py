"""What a sorter reads of a webhook is what an ingress without a log reads of it.

By the log of a SQLite store and by PostgreSQL, the same requests become the same messages: with
the same keys, for the same of them are repeats, and with the same lanes, addresses and forms.
"""

import asyncio
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.ingress.role import Ingress
from offhook.stores import open_store
from offhook.stores.api import Filter, Record
from offhook.worker.sorter import catch_up
from testing.postgres import PostgresServer
from testing.webhooks import ACCOUNT, PUBLIC, settings
from tests.core.forms import mms, rcs, sms, status, whatsapp
from tests.ingress.test_reception import webhook

PEOPLE = [
    "+14155550199",
    "WhatsApp:+14155550199",
    "whatsapp:+14155550199",
    "MESSENGER:1234",
    "4321",
]
CHANNELS = [sms, mms, whatsapp, rcs]


def message(channel: int, sid: int, sender: str, text: str, account: str) -> Request:
    fields = CHANNELS[channel](text) | {"From": sender, "AccountSid": account}
    return webhook(tuple(numbered(fields, sid).items()))


def report(sid: int, recipient: str, said: str, code: str, query: str, *, astray: bool) -> Request:
    kind = Kind.MESSAGE if astray else Kind.STATUS
    fields = numbered(status(said, To=recipient, **({"ErrorCode": code} if code else {})), sid)
    url = f"{PUBLIC}/twilio/messages" + (query and f"?{query}")
    return webhook(tuple(fields.items()), kind=kind, query=query.encode(), url=url)


def numbered(fields: dict[str, str], number: int) -> dict[str, str]:
    sid = fields["MessageSid"][:2] + f"{number:032x}"
    return fields | {
        name: sid for name in ("MessageSid", "SmsMessageSid", "SmsSid") if name in fields
    }


SIDS = st.integers(0, 9)
REQUESTS = st.builds(
    message,
    st.integers(0, len(CHANNELS) - 1),
    SIDS,
    st.sampled_from(PEOPLE),
    st.text(max_size=20) | st.sampled_from(["stop", "From+1", "a&b=c%", "é\0"]),
    st.sampled_from([ACCOUNT, "AC" + "9" * 32]),
) | st.builds(
    report,
    SIDS,
    st.sampled_from(PEOPLE),
    st.sampled_from(["sent", "delivered", "undelivered"]),
    st.sampled_from(["", "30003"]),
    st.sampled_from(["", "offhook=7", "ErrorCode=1&From=x&MessageStatus=read"]),
    astray=st.booleans(),
)


async def received(url: str, requests: Sequence[Request]) -> tuple[list[int], list[Record]]:
    """Return the answers of an ingress, and what its store has once all is sorted."""
    ingress = Ingress(settings(store=url), lambda _: None)
    await ingress.start()
    answers = [await ingress.webhooks.reception.receive(request) for request in requests]
    await ingress.stop()
    store = open_store(url)
    await store.open()
    try:
        assert await catch_up(store, print, patience=30)
        found = await store.find(Filter(limit=1000))
    finally:
        await store.close()
    return [answer.answer.status for answer in answers], [
        replace(record, id=0, received=0.0, due=None) for record in reversed(found)
    ]


@examples(max_examples=10, deadline=None)
@given(st.lists(REQUESTS, min_size=20, max_size=40))
def test_a_log_and_no_log_make_the_same_messages(
    server: PostgresServer, requests: list[Request]
) -> None:
    direct = server.create_database(f"direct_{secrets.token_hex(4)}")
    with tempfile.TemporaryDirectory() as directory:
        logged = f"sqlite:///{Path(directory)}/offhook.db"
        assert asyncio.run(received(logged, requests)) == asyncio.run(received(direct, requests))
