"""The addresses that Twilio sends messages to and from."""

import re
from typing import Final

from offhook.core.addresses import channel_of
from offhook.twilio.simulator.rest_errors import RestError

# E.164: a plus, and up to 15 digits of which the first is not zero.
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")
# https://www.twilio.com/docs/glossary/what-is-a-short-code
_SHORT_CODE: Final = re.compile(r"[0-9]{3,8}")
# Letters, digits and spaces, at least one letter; an account need not own such a sender.
# https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id
_ALPHANUMERIC: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 &_.+-]{1,11}")
# A WhatsApp user name's id: US.13491208655302741918, at most 140 characters.
_USER: Final = re.compile(r"[A-Za-z]{2}\.[A-Za-z0-9]{1,137}")
# Those of simulated people: of their numbers.
_SIMULATED: Final = re.compile(r"whatsapp:US\.([1-9][0-9]{6,14})")
# Users and agents of other channels.
_NAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,140}")


def unreachable(to: str) -> RestError | None:
    """Return the error for an address that Twilio can't send to; None if it can."""
    channel, _, name = to.rpartition(":")
    others = _USER if channel == "whatsapp" else _NAME
    if _NUMBER.fullmatch(name) or (channel and others.fullmatch(name)):
        return None
    if _SHORT_CODE.fullmatch(to):
        return RestError(21265, "'To' number cannot be a Short Code")
    return RestError(21211, f"The 'To' number {to} is not a valid phone number.")


def is_brand(from_: str) -> bool:
    """Return whether a sender is alphanumeric; an account need not own it."""
    return channel_of(from_) == "sms" and _ALPHANUMERIC.fullmatch(from_) is not None


def opted_out_as(person: str) -> str:
    """Return the key of a person's opt-out, which RCS, SMS and MMS share."""
    return person.partition(":")[2] if channel_of(person) == "rcs" else person


def user_id_of(number: str) -> str:
    """Return the user id that a simulated person has on WhatsApp, beside a number."""
    return f"whatsapp:US.{number.rpartition('+')[2]}"


def number_of(address: str) -> str:
    """Return the number of a simulated person for a user id; any other address as it is."""
    found = _SIMULATED.fullmatch(address)
    return f"whatsapp:+{found[1]}" if found else address
