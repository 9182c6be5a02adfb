"""A validated webhook, on its way into a store."""

from typing import NamedTuple

from offhook.core.keys import Kind


class Inbound(NamedTuple):
    """A validated webhook on its way into the store.

    A named tuple, because one is made for each request (see `Request`).

    Attributes:
        form: the parameters as they came: a form's body, or a GET's query.
        notice_after: seconds from receipt until the person is told that it takes longer, unless
            the message has settled by then; None for never.
        age: seconds since it was received, when it comes by way of a spool; else 0.
        spooled: it comes by way of a spool, and may be later than its successors.
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

    def __repr__(self) -> str:
        """Leave out what a person wrote, and who."""
        return f"Inbound({self.kind}, {self.sid!a})"
