"""Detect a signed form whose fields were split differently than Twilio split them.

The signed text has no separators between names and values, so one captured request can be split
into other fields with the same signature, for example with another sender. Which splits are
detected, which can't be, and why: docs/decisions/0022-forms-cut-anew.md.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from offhook.core.forms import Form
from offhook.core.keys import Kind
from offhook.core.lifecycle import STATUSES

# https://www.twilio.com/docs/glossary/what-is-a-sid
_HEX: Final = "[0-9a-f]{32}"
_SID: Final = re.compile(f"(?:SM|MM){_HEX}")
_ACCOUNT: Final = re.compile(f"AC{_HEX}")
_ANY_SID: Final = re.compile(f"(?:SM|MM|AC){_HEX}")

_NAMES: Final = re.compile(r"[A-Za-z0-9_]+")

# A whole address, which has neither absorbed the next name nor lost its end: a number, a short
# code, an alphanumeric sender (at most 11 characters), or a channel's address. It contains no name
# of a parameter that may follow an address and be empty.
_ADDRESS: Final = re.compile(
    r"""
    (?! .* (?: From | To ) (?: City | Country | State | Zip ) )
    (?: \+? [0-9]{3,20}
      | [A-Za-z0-9] [A-Za-z0-9 &_.'+-]{0,10}
      | [A-Za-z] [A-Za-z0-9_-]{0,19} : (?: \+? [0-9]{1,40} | (?!\+) [A-Za-z0-9_.:@-]{1,200} )
    )
    """,
    re.VERBOSE,
)

# Codes are numbers, but `InvalidSandboxRequest` has been seen (twilio-csharp, issue 488). A word
# that continues with the name of the next field is not a code.
_ERROR_CODE: Final = re.compile(
    r"[0-9]{0,9}|(?!.*(?:Error[A-Z]|Event|External|From|Message|Raw|Sms))[A-Z][A-Za-z]{2,59}"
)

# The names of identifying fields, each with the beginning of its value. Where one occurs in the
# signed text, Twilio split it there, or it is part of a person's text.
_SID_FIELD: Final = re.compile(f"Sid{_ANY_SID.pattern}")
_BEGINNING: Final = r"(?:\+[0-9]|[0-9]{3}|(?:[a-z]{1,20}|[A-Z]{1,20}):)"
_FROM: Final = re.compile(f"From{_BEGINNING}")
_TO: Final = re.compile(f"To{_BEGINNING}")
_CODE: Final = re.compile("ErrorCode[0-9A-Z]")
_STATUS: Final = re.compile(f"MessageStatus(?:{'|'.join(sorted(STATUSES))})")

# Parameters that may stand between a user id and the sender, and that it may have swallowed.
_BEHIND_USER_ID: Final = re.compile("FlowData|Forwarded|FrequentlyForwarded")
_USER_ID: Final = re.compile("ExternalUserId(?:[a-z]{1,20}|[A-Z]{1,20}):")

_BEHIND_SENDER: Final = ("Label", "InteractiveData")
"""Parameters with a person's text that sort between sender and SID."""

_SENDERS_NAME: Final = re.compile(r"(?<![ '\"(])From")
"""A parameter's name, not a word in a sentence: `The 'From' number is not ...`."""

_TEXTS: Final = frozenset(
    {
        "Address", "Body", "ButtonPayload", "ButtonText", "ChannelMetadata", "FlowData",
        "InteractiveData", "Label", "ProfileName", "ReferralBody", "ReferralHeadline",
        "ReferralSourceUrl",
    }
)  # fmt: skip
"""Parameters with text of a person or an advertisement, which may contain anything."""

_OUR_TEXT: Final = "StructuredMessage"
"""The one parameter of a status with free text: that of the sent message."""

_SIDS: Final = ("MessageSid", "SmsMessageSid", "SmsSid")
_COMMON: Final = len((*_SIDS, "AccountSid"))  # SIDs that nearly every message has, and no more
_ONCE: Final = frozenset(
    {
        *_SIDS,
        "AccountSid",
        "ExternalUserId",
        "From",
        "To",
        "MessageStatus",
        "SmsStatus",
        "ErrorCode",
    }
)


def flaw(kind: Kind, form: Form, text: str, *, posted: bool) -> str:
    """Return why Twilio can't have sent these fields; empty if it may have.

    Absent fields are not a flaw, unless their names are hidden in other fields.

    Args:
        kind: the webhook's kind.
        form: decoded, with a valid signature.
        text: its `signed_text`.
        posted: whether it was signed field by field; the query of a GET is signed whole.
    """
    first = form.first
    if posted and first and ("" in first or not _NAMES.fullmatch("".join(first))):
        return "a field's name is not a parameter's"
    if form.all is not None and _repeated(form.all):
        return "a parameter that is sent once came twice"
    account = first.get("AccountSid")
    if account is not None and not _ACCOUNT.fullmatch(account):
        return "AccountSid is not an account's SID"
    for name in ("From", "To"):
        address = first.get(name)
        if address and not _ADDRESS.fullmatch(address):
            return f"{name} is not an address"
    if kind is Kind.STATUS:
        return _flaw_of_status(form, text)
    return _flaw_of_message(first, text)


def _flaw_of_message(first: Mapping[str, str], text: str) -> str:
    sid = first.get("MessageSid", "")
    one = sid == first.get("SmsMessageSid", "") == first.get("SmsSid", "")
    if not (one and (not sid or _SID.fullmatch(sid))):
        return "MessageSid, SmsMessageSid and SmsSid are not one SID"
    found = _count(_SID_FIELD, text)
    if found != _COMMON and found != _sid_fields(first) + _retold(first, _TEXTS):
        return "a SID stands outside its parameter"
    if not _is_only(_FROM, text, first, "From"):
        # The sender is the last one before MessageSid; a person's texts sort before it. `City` is
        # not a sender if there is another: it may have been FromCity.
        before, behind = _text_of(first, "", "From"), _text_of(first, "From", "MessageSid")
        own = _FROM.match(behind)
        if not own or _count(_FROM, behind) > 1 or _sender_retold(before):
            return "a second sender stands outside its parameter"
    if not _is_only(_TO, text, first, "To"):
        behind = _text_of(first, "SmsSid", "")
        if not _is_only(_TO, behind, first, "To"):
            return "a second recipient stands outside its parameter"
    return _flaw_of_user_id(first, text)


def _flaw_of_user_id(first: Mapping[str, str], text: str) -> str:
    """Return why a person's user id may be another's.

    The user id is the last one before the sender; texts that sort before it may contain others.
    """
    user_id = first.get("ExternalUserId")
    if not user_id:
        return ""
    if not _ADDRESS.fullmatch(user_id) or _BEHIND_USER_ID.search(user_id):
        return "ExternalUserId is not an address"
    if not _is_only(_USER_ID, text, first, "ExternalUserId"):
        behind = _text_of(first, "ExternalUserId", "From")
        if not _is_only(_USER_ID, behind, first, "ExternalUserId"):
            return "a second user id stands outside its parameter"
    return ""


def _flaw_of_status(form: Form, text: str) -> str:
    return _misshapen(form.first) or _misplaced(form, text)


def _misshapen(first: Mapping[str, str]) -> str:
    # In some, SmsSid differs from MessageSid.
    if any(first.get(name) and not _SID.fullmatch(first[name]) for name in _SIDS):
        return "a SID is malformed"
    if any(first.get(name, "sent") not in STATUSES for name in ("MessageStatus", "SmsStatus")):
        return "the status is unknown"
    if not _ERROR_CODE.fullmatch(first.get("ErrorCode", "")):
        return "ErrorCode is not an error code"
    return ""


def _misplaced(form: Form, text: str) -> str:
    first = form.first
    if _OUR_TEXT in first:
        form = Form.of((name, value) for name, value in form.fields if name != _OUR_TEXT)
        first, text = form.first, form.signed_text()
    if _count(_SID_FIELD, text) != _sid_fields(first):
        return "a SID stands outside its parameter"
    if not (_is_only(_FROM, text, first, "From") and _is_only(_TO, text, first, "To")):
        return "an address stands outside its parameter"
    if not first.get("From") and _count(_SENDERS_NAME, text) > ("From" in first):
        return "From stands outside its parameter"
    if _count(_STATUS, text) > ("MessageStatus" in first):
        return "a status stands outside its parameter"
    if _count(_CODE, text) > ("ErrorCode" in first):
        return "an error code stands outside its parameter"
    return ""


def _repeated(fields: Iterable[tuple[str, str]]) -> bool:
    names = [name for name, _ in fields if name in _ONCE]
    return len(set(names)) < len(names)


def _count(pattern: re.Pattern[str], text: str) -> int:
    return len(pattern.findall(text))


def _sid_fields(first: Mapping[str, str]) -> int:
    """Return how many parameters hold the SID of a message or an account."""
    return sum(
        1 for name, value in first.items() if name[-3:] == "Sid" and _ANY_SID.fullmatch(value)
    )


def _retold(first: Mapping[str, str], texts: Iterable[str]) -> int:
    """Return how many SIDs, each after its name, these texts contain."""
    return sum(_count(_SID_FIELD, first[name]) for name in texts if name in first)


def _sender_retold(text: str) -> bool:
    """Return whether a text contains a sender, followed by a name that may hide one."""
    sender = _FROM.search(text)
    return sender is not None and any(name in text[sender.end() :] for name in _BEHIND_SENDER)


def _is_only(pattern: re.Pattern[str], text: str, first: Mapping[str, str], name: str) -> bool:
    """Return whether an address occurs in a text only in its own parameter."""
    own = pattern.match(name + first.get(name, "")) is not None
    return _count(pattern, text) == own


def _text_of(first: Mapping[str, str], start: str, end: str) -> str:
    """Return the signed text from one name, inclusive, to another, exclusive."""
    names = sorted(name for name in first if name >= start and (not end or name < end))
    return "".join([name + first[name] for name in names])
