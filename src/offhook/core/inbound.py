"""A webhook that was validated: as it came, and as a store takes it."""

from hashlib import blake2b
from typing import Final, NamedTuple, Self

from offhook.core.addresses import folded
from offhook.core.deferred import Deferred
from offhook.core.forms import decode_form
from offhook.core.keys import KEY_BYTES, Kind, dedupe_key, lane_and_alias, lane_of
from offhook.core.messages import message_sid

_MAX_NAME: Final = 64  # characters of an address or a SID that is only claimed


class Webhook(NamedTuple):
    """A validated webhook, as it came.

    A named tuple, because one is made for each request (see `Request`).

    Attributes:
        kind: what it is, whatever URL it was sent to.
        form: the parameters as they came: a form's body, or a GET's query; of a deferred request,
            all of it (`Deferred.form`).
        notice_after: seconds from receipt until the person is told that it takes longer, unless
            the message has settled by then; None for never.
    """

    kind: Kind
    form: bytes
    notice_after: float | None = None

    def __repr__(self) -> str:
        """Leave out what a person wrote."""
        return f"Webhook({self.kind})"


class Inbound(NamedTuple):
    """A validated webhook on its way into the store.

    Attributes:
        form, notice_after: as of `Webhook`.
        age: seconds since it was received, when it comes by way of a log or a spool; else 0.
        spooled: it comes by way of a spool, and may be later than its successors.
        alias: the lane that the sender's user id alone leads to; empty for a person without one.
            If it is another than `lane`, both are one person's from now on.
    """

    kind: Kind
    key: bytes
    lane: str
    account_sid: str
    sid: str
    sender: str
    recipient: str
    form: bytes
    notice_after: float | None = None
    age: float = 0.0
    spooled: bool = False
    alias: str = ""

    def __repr__(self) -> str:
        """Leave out what a person wrote, and who."""
        return f"Inbound({self.kind}, {self.sid!a})"

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        """Return what a webhook says of itself: its key, its lane, its addresses.

        Raises:
            ValueError: it names no account or no message. A validated one names both.
        """
        kind, form, notice_after = webhook
        if kind is Kind.DEFERRED:
            return cls._of_deferred(form)
        raw = decode_form(form).first
        account, sid = raw.get("AccountSid"), message_sid(raw)
        if not (account and sid):
            raise ValueError("its form names no account or no message")
        sender, recipient = folded(raw.get("From", "")), folded(raw.get("To", ""))
        lane, alias = f"{account}|{sid}", ""
        if kind is Kind.MESSAGE:
            lane, alias = lane_and_alias(account, sender, recipient, raw)
        return cls(
            kind,
            dedupe_key(kind, raw),
            lane,
            account,
            sid,
            sender,
            recipient,
            form,
            notice_after,
            alias=alias,
        )

    @classmethod
    def _of_deferred(cls, form: bytes) -> Self:
        """Return what a request that can't be verified yet claims.

        Its key is of the whole request: a forged one must not take the key of a genuine message,
        which it gets only when it is verified. Its lane is that of its conversation among the
        deferred, so that they are verified in order, and hold up nothing else.
        """
        request, account_sid = Deferred.of(form)
        raw = request.form().first
        lane = lane_of(request.kind, {**raw, "AccountSid": account_sid})
        return cls(
            kind=Kind.DEFERRED,
            key=request.fingerprint(b"", f"{Kind.DEFERRED} {request.kind}")[:KEY_BYTES],
            # Hashed, since a claim may be of any length.
            lane=f"{Kind.DEFERRED}|{blake2b(lane.encode(), digest_size=KEY_BYTES).hexdigest()}",
            account_sid=account_sid,
            sid=_name(message_sid(raw)),
            sender=_name(raw.get("From", "")),
            recipient=_name(raw.get("To", "")),
            form=form,
        )


def _name(claimed: str) -> str:
    return claimed if len(claimed) <= _MAX_NAME else ""
