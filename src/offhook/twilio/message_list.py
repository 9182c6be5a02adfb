"""Read Twilio's message list, to find the messages of sends whose outcome is unknown.

https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

from offhook.core.texts import well_formed
from offhook.core.unknown_sends import Listed
from offhook.errors import TwilioError
from offhook.twilio.client import TwilioClient
from offhook.twilio.responses import sid_of, status_of, text_of

MAX_MESSAGES: Final = 1_000
"""Messages that are read of a list: ten pages. Of a longer one, nothing is concluded."""

_CODES: Final = range(1_000_000)
_MOST_MEDIA: Final = 3  # digits


async def list_messages(client: TwilioClient, account_sid: str, to: str) -> list[Listed] | None:
    """Return all messages of an account to a person; None if there are too many.

    The list is read to its end. It has no order to rely on: it is sorted by the time of sending,
    which a message that Twilio has only queued does not have yet; asked for messages sent since
    some time, Twilio may leave that out.

    Args:
        client: of the account, or of the one that it belongs to.
        account_sid: the account.
        to: the address that is listed.

    Raises:
        TwilioError: it could not be read to its end.
    """
    path = f"/2010-04-01/Accounts/{quote(account_sid, safe='')}/Messages.json"
    listed: list[Listed] = []
    async for record in client.all("api", path, "messages", To=to):
        if len(listed) == MAX_MESSAGES:
            return None
        listed.append(_listed(record, _said_at(client)))
    return listed


def _listed(record: Mapping[str, Any], now: datetime) -> Listed:
    sid, created = sid_of(record), _moment(record.get("date_created"))
    if not sid or created is None:
        raise TwilioError("Twilio's message list has a record without a SID or a date")
    code = record.get("error_code")
    return Listed(
        sid=sid,
        to=text_of(record, "to"),
        sender=text_of(record, "from"),
        service=text_of(record, "messaging_service_sid"),
        body=_body(record),
        media=_count(record.get("num_media")),
        age=(now - created).total_seconds(),
        status=status_of(record),
        error_code=str(code) if type(code) is int and code in _CODES else "",
        outbound=text_of(record, "direction") != "inbound",
    )


def _said_at(client: TwilioClient) -> datetime:
    """Return Twilio's own time: this machine's clock may be wrong, and ages would be."""
    moment = _moment(client.answered_at)
    if moment is None:
        raise TwilioError("Twilio's answer has no date")
    return moment


def _moment(text: object) -> datetime | None:
    """Read a time as RFC 2822 has it: `Tue, 18 Aug 2026 12:00:00 +0000`."""
    try:
        moment = parsedate_to_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _body(record: Mapping[str, Any]) -> str:
    body = record.get("body")
    return well_formed(body) if isinstance(body, str) else ""


def _count(text: object) -> int:
    number = str(text)[:_MOST_MEDIA]
    return int(number) if number.isascii() and number.isdigit() else 0
