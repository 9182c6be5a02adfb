"""Who wrote a message: on WhatsApp a person has a number, a business-scoped user id, or both.

Twilio sends the user id as `ExternalUserId` beside a number, and in place of one as `From`, for
people who do not show theirs: https://www.twilio.com/en-us/changelog, 2026-07-20.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from offhook.core.addresses import folded

_WHATSAPP: Final = "whatsapp:"
_NUMBER: Final = re.compile(r"\+?[0-9]{1,40}")
_USER_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")  # `US.13491208655302741918`, or longer


class Identity(NamedTuple):
    """The addresses of a message's sender, each in comparable form.

    Attributes:
        number: the telephone number, or the address of another channel; empty if it is not known.
        user_id: WhatsApp's business-scoped id, as an address: `whatsapp:US.1349...`; else empty.
    """

    number: str
    user_id: str

    @property
    def address(self) -> str:
        """The address whose lane the person's messages are in."""
        return self.number or self.user_id


def may_have_user_id(sender: str, raw: Mapping[str, str]) -> bool:
    """Return whether a message may have a user id: quick, for those that have none."""
    if not sender.startswith(_WHATSAPP):
        return False
    return "ExternalUserId" in raw or not sender.startswith("+", len(_WHATSAPP))


def identity_of(sender: str, raw: Mapping[str, str]) -> Identity:
    """Return who wrote a message.

    Args:
        sender: its `From`, folded.
        raw: its parameters.
    """
    if not may_have_user_id(sender, raw):
        return Identity(sender, "")
    name = sender[len(_WHATSAPP) :]
    if _NUMBER.fullmatch(name):
        other = folded(raw.get("ExternalUserId", ""))
        return Identity(sender, other if is_user_id(other) else "")
    if not _USER_ID.fullmatch(name):
        return Identity(sender, "")
    wa_id = raw.get("WaId", "")
    return Identity(f"{_WHATSAPP}+{wa_id.lstrip('+')}" if _NUMBER.fullmatch(wa_id) else "", sender)


def is_user_id(address: str) -> bool:
    """Return whether a folded address is a business-scoped user id of WhatsApp's."""
    if not address.startswith(_WHATSAPP):
        return False
    name = address[len(_WHATSAPP) :]
    return not _NUMBER.fullmatch(name) and _USER_ID.fullmatch(name) is not None


def user_id_of(raw: Mapping[str, str]) -> str:
    """Return the user id of a message's sender; empty without one."""
    return identity_of(folded(raw.get("From", "")), raw).user_id
