"""Responses of other servers, read within bounds of size, depth and type."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from offhook.core.addresses import channel_of
from offhook.core.cost import MILLION, Cost
from offhook.core.lifecycle import STATUSES
from offhook.core.segments import segments_of
from offhook.core.texts import one_line

_MESSAGE_SID: Final = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
_SEGMENTS: Final = re.compile("[0-9]{1,3}")
_PRICE: Final = re.compile(r"-?[0-9]{1,6}(\.[0-9]{1,6})?")
_CURRENCY: Final = re.compile("[A-Z]{3}")
_CODES: Final = range(1_000_000)


def object_of(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object that is the body of a response; an empty one if it is none."""
    try:
        answer = json.loads(content.decode())
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def text_of(answer: Mapping[str, Any], name: str) -> str:
    """Return a text field, safe to store, log and show; empty if it is not a string."""
    value = answer.get(name)
    return one_line(value) if isinstance(value, str) else ""


def code_of(answer: Mapping[str, Any]) -> str:
    """Return Twilio's error code; empty without one."""
    code = answer.get("code")
    return str(code) if type(code) is int and code in _CODES else ""


def sid_of(answer: Mapping[str, Any]) -> str:
    """Return the SID of a message; empty if it is malformed."""
    sid = answer.get("sid")
    return sid if isinstance(sid, str) and _MESSAGE_SID.fullmatch(sid) else ""


def cost_of(answer: Mapping[str, Any], text: str, *, to: str, is_plain: bool) -> Cost:
    """Return what a message costs. Twilio often gives no price, and no segments at first.

    Args:
        answer: Twilio's.
        text: of the message.
        to: its recipient: only SMS has segments.
        is_plain: whether it is a text, and neither media nor a template, whose text is Twilio's.
    """
    if channel_of(to) != "sms":
        segments = 0
    else:
        said = answer.get("num_segments")
        counted = int(said) if isinstance(said, str) and _SEGMENTS.fullmatch(said) else 0
        segments = counted or (segments_of(text, to) if is_plain else 0)
    price, currency = answer.get("price"), answer.get("price_unit")
    if not (isinstance(price, str) and _PRICE.fullmatch(price)):
        return Cost(segments)
    if not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        return Cost(segments)
    # Twilio's is negative: what is taken from the balance.
    return Cost(segments, int(abs(Decimal(price)) * MILLION), currency)


def status_of(answer: Mapping[str, Any]) -> str:
    """Return the status of a message; empty if Twilio has no such status."""
    status = answer.get("status")
    return status if isinstance(status, str) and status in STATUSES else ""
