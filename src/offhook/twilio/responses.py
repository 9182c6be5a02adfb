"""Responses of other servers, read within bounds of size, depth and type."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from offhook.core.lifecycle import STATUSES
from offhook.core.texts import one_line

_MESSAGE_SID: Final = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
_CODES: Final = range(1_000_000)


def object_of(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object that is the body of a response; an empty one if it is none."""
    try:
        answer = json.loads(content)
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


def status_of(answer: Mapping[str, Any]) -> str:
    """Return the status of a message; empty if Twilio has no such status."""
    status = answer.get("status")
    return status if isinstance(status, str) and status in STATUSES else ""
