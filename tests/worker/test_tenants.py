"""What a webhook names belongs to the account that signed it.

Invariant: with @app.credentials each tenant has its own token. Whatever a tenant signs, the
ledger of another stays as it is.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from offhook.arrivals.direct import reading
from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery, SendState
from offhook.core.messages import Send
from offhook.core.requests import Request
from offhook.core.responses import Answer
from offhook.core.send_reference import referred_send, send_reference
from offhook.core.signature import sign
from offhook.ingress.credentials import Credentials
from offhook.ingress.reception import Reception
from offhook.stores.api import SendClaim
from offhook.worker.handlers import Handlers
from testing.stores import inbound
from testing.webhooks import PATIENT, answered
from tests.ingress.test_credentials import Source
from tests.worker.support import ANN, OURS, Line, handled_by, opened, serving

ONE, TWO = "AC" + "1" * 32, "AC" + "2" * 32
TOKENS = {ONE: "one's", TWO: "two's"}
GENUINE, FORGED = "SM" + "a" * 32, "SM" + "b" * 32


def status(account: str, sid: str, said: str, query: str, token: str) -> Request:
    """Return a status callback, as whoever has a token can sign it."""
    fields = {
        "AccountSid": account, "ApiVersion": "2010-04-01", "From": OURS, "MessageSid": sid,
        "MessageStatus": said, "SmsSid": sid, "SmsStatus": said, "To": ANN,
    }  # fmt: skip
    base, path = "https://bot.example.com", "/twilio/status"
    return Request(
        kind=Kind.STATUS,
        method="POST",
        base=base,
        path=path,
        query=query.encode(),
        content_type="application/x-www-form-urlencoded",
        signature=sign(url=f"{base}{path}?{query}", params=fields.items(), auth_token=token),
        body=urlencode(fields).encode(),
        started=0.0,
    )


class Bench:
    """An ingress and a worker of two tenants; whatever comes in has been handled."""

    def __init__(self, line: Line, handlers: Handlers) -> None:
        settings = line.settings.replace(public_url="https://bot.example.com", **PATIENT)
        self.line = line
        self.handlers = handlers
        self.credentials = Credentials(settings, Source(**TOKENS), line.told)
        self.reception = Reception(
            reading(line.store.accept), settings, line.told, credentials=self.credentials
        )
        self.answers: list[Answer] = []

    async def take(self, request: Request) -> None:
        """Answer a webhook and handle it."""
        self.answers.append(await answered(self.reception, request))
        await self.work()

    async def work(self) -> None:
        line = Line(self.line.store, self.line.url, self.handlers, self.line.settings)
        async with serving(line):
            await line.told.runs(1)

    async def send_of(self, account: str) -> SendClaim:
        """Return the answer to a tenant's message, on its way."""
        sid = _sid_of(account)
        form = {"MessageSid": sid, "AccountSid": account, "From": ANN, "To": OURS, "Body": "hello"}
        one = inbound(sid, sid)._replace(account_sid=account, form=urlencode(form).encode())
        await self.line.store.accept(one)
        await self.work()
        (send,) = (await self.line.store.claim_sends(1, lease=300.0, owner="sender")).claims
        assert send.draft.account_sid == account
        return send

    async def ledger(self, account: str) -> Send:
        (send,) = (await self.line.ledger(_sid_of(account))).values()
        return send


def _sid_of(account: str) -> str:
    return "SM" + account[-1] * 32


References = Callable[[int], str]

REFERENCES: dict[str, References] = {
    "its number": str,
    "its own reference": lambda number: send_reference(number, TWO, "t"),
    "a reference for the tenant that signs": lambda number: send_reference(number, ONE, "t"),
    "one made with the tenant's token": lambda number: send_reference(number, TWO, "one's"),
    "none": lambda _: "",
}


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES.keys())
async def test_a_tenant_says_nothing_of_anothers_sends(
    tmp_path: Path, reference: References
) -> None:
    handlers = handled_by(lambda: "hello back")
    async with opened(tmp_path, handlers) as line:
        bench = Bench(line, handlers)
        send = await bench.send_of(TWO)
        query = f"send={reference(send.id)}"
        await bench.take(status(ONE, FORGED, "read", query, "one's"))
        assert bench.answers[-1].status == 204  # it is a status of the tenant's own
        kept = await bench.ledger(TWO)
        assert (kept.state, kept.sid, kept.delivery) == (SendState.SENDING, "", None)
        # Nor does it by a SID that it has seen.
        query = f"send={send_reference(send.id, TWO, 't')}"
        await bench.take(status(TWO, GENUINE, "sent", query, "two's"))
        await bench.take(status(ONE, GENUINE, "read", query, "one's"))
        kept = await bench.ledger(TWO)
        assert (kept.state, kept.sid) == (SendState.SENT, GENUINE)
        assert kept.delivery == Delivery("sent")
        await bench.credentials.close()


@pytest.mark.parametrize(
    "reference", ["", "7", "9" * 30, "-1", "x", "7.", ".", "7.\u00e9", "7." + "0" * 24]
)
def test_a_reference_that_is_none_of_ours_refers_to_nothing(reference: str) -> None:
    assert referred_send(reference, ONE, ["t"]) is None


def test_a_reference_is_to_one_send_of_one_account_under_any_token() -> None:
    reference = send_reference(7, ONE, "t")
    assert referred_send(reference, ONE, ["new", "t"]) == 7
    assert referred_send(reference, ONE, ["new"]) is None
    assert referred_send(reference, TWO, ["t"]) is None
    for other in (reference[1:], "1" + reference, reference[:-1], reference.replace("7.", "8.")):
        assert referred_send(other, ONE, ["t"]) is None
