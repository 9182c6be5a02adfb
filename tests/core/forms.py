"""What Twilio sends, as captured and documented, and what somebody makes of it who has seen it."""

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence

ACCOUNT = "AC" + "1" * 32
SID = "SM" + "2" * 32
QUOTED = "SM" + "3" * 32
FORGED = "SM" + "9" * 32
PERSON, VICTIM, BOT = "+14155550199", "+14155550111", "+14155550100"

Fields = dict[str, str]


def sms(body: str = "hello", **more: str) -> Fields:
    """Return an inbound SMS, in the order of a capture."""
    return {
        "ToCountry": "US", "ToState": "CA", "SmsMessageSid": SID, "NumMedia": "0",
        "ToCity": "SAN FRANCISCO", "FromZip": "94105", "SmsSid": SID, "FromState": "CA",
        "SmsStatus": "received", "FromCity": "", "Body": body, "FromCountry": "US", "To": BOT,
        "ToZip": "94105", "NumSegments": "1", "MessageSid": SID, "AccountSid": ACCOUNT,
        "From": PERSON, "ApiVersion": "2010-04-01", **more,
    }  # fmt: skip


def mms(body: str = "look", **more: str) -> Fields:
    sid = "MM" + SID[2:]
    media = (
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media/ME" + "4" * 32
    )
    return sms(
        body, MessageSid=sid, SmsSid=sid, SmsMessageSid=sid, NumMedia="2",
        MediaContentType0="image/jpeg", MediaUrl0=media, MediaContentType1="text/vcard",
        MediaUrl1=media, MessagingServiceSid="MG" + "5" * 32, OptOutType="START",
    ) | more  # fmt: skip


def whatsapp(body: str = "hello", **more: str) -> Fields:
    """Return an inbound WhatsApp message, in the order of a capture."""
    number = PERSON[1:]
    return {
        "ExternalUserId": "whatsapp:US.13491208655302741918", "SmsMessageSid": SID, "NumMedia": "0",
        "ProfileName": "Ada", "MessageType": "text", "SmsSid": SID, "WaId": number,
        "SmsStatus": "received", "Body": body, "To": f"whatsapp:{BOT}", "NumSegments": "1",
        "ReferralNumMedia": "0", "MessageSid": SID, "AccountSid": ACCOUNT,
        "ChannelMetadata": json.dumps({"context": {"ProfileName": "Ada", "WaId": number}}),
        "From": f"whatsapp:{PERSON}", "ApiVersion": "2010-04-01", **more,
    }  # fmt: skip


EVERYTHING = {
    # https://www.twilio.com/docs/messaging/guides/webhook-request, all that a channel may add
    "MessagingServiceSid": "MG" + "5" * 32, "MediaContentType0": "image/jpeg",
    "MediaUrl0": f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}/Media/ME1",
    "ButtonPayload": "yes-1", "ButtonText": "Yes", "ButtonType": "REPLY",
    "InteractiveData": '{"type":"nfm_reply"}', "FlowData": '{"From":"here","To":"there"}',
    "Latitude": "52.5", "Longitude": "-13.4", "Address": "Unter den Linden 1", "Label": "Berlin",
    "Forwarded": "false", "FrequentlyForwarded": "true", "ReferralBody": "Shoes",
    "ReferralHeadline": "Buy", "ReferralSourceId": "1", "ReferralSourceType": "post",
    "ReferralSourceUrl": "https://fb.me/FromTo24", "ReferralMediaId": "2",
    "ReferralMediaContentType": "image/png", "ReferralMediaUrl": "https://example.com/a.png",
    "ReferralCtwaClid": "click", "OriginalRepliedMessageSender": f"whatsapp:{BOT}",
    "OriginalRepliedMessageSid": QUOTED, "OptOutType": "HELP", "ErrorCode": "11200",
    "ErrorUrl": "https://bot.example.com/twilio/messages", "ToCarrier": "somebody", "Zeta": "",
}  # fmt: skip


def rcs(body: str = "hello", **more: str) -> Fields:
    return whatsapp(body, From=f"rcs:{PERSON}", To="rcs:brand_agent", **more)


def status(said: str = "delivered", **more: str) -> Fields:
    """Return a status callback, in the order of a capture."""
    return {
        "RawDlrDoneDate": "2611300315", "SmsSid": SID, "SmsStatus": said, "MessageStatus": said,
        "To": PERSON, "MessageSid": SID, "AccountSid": ACCOUNT, "From": BOT,
        "ApiVersion": "2010-04-01", **more,
    }  # fmt: skip


def failed(**more: str) -> Fields:
    return status("failed", ErrorCode="30003", ErrorMessage="") | more


def of_channel(said: str = "sent", **more: str) -> Fields:
    return status(
        said, To=f"whatsapp:{PERSON}", From=f"whatsapp:{BOT}", ChannelPrefix="whatsapp",
        ChannelToAddress="+1415555XXXX", ChannelInstallSid="XE" + "6" * 32, EventType="READ",
        ChannelStatusMessage="Channel could not deliver, ErrorCode 63016",
        StructuredMessage='{"body":"hello"}', ExternalUserId="whatsapp:US.1349",
    ) | more  # fmt: skip


# Pieces of what somebody may write who wants it cut.
PIECES = (
    "hi", "x", " ", "}", "_", "zz", "G", "Z", "Body", "Button", "AccountSid" + ACCOUNT,
    f"From{VICTIM}", f"Fromwhatsapp:{VICTIM}", "From12345", "FromX", "FromCity", "FromZip",
    "Label", "InteractiveData", "Latitude", "MediaUrl0", f"MessageSid{FORGED}", "MessageT",
    "MessageStatusread", "NumMedia0", "ProfileName", f"SmsMessageSid{FORGED}", "SmsMessageSid",
    f"SmsSid{FORGED}", "SmsStatus", f"To{BOT}", f"To{VICTIM}", f"Towhatsapp:{VICTIM}", "ToX",
    "ToCity", "ErrorCode30003", "ExternalUserIdwhatsapp:US.666", "FlowData",
)  # fmt: skip


def written(dice: random.Random) -> str:
    """Return a text made to be cut: often a whole forged message, in the order of its names."""
    if dice.random() < 0.5:
        return "".join(dice.choices(PIECES, k=dice.randrange(1, 7)))
    channel = dice.choice(("", "whatsapp:"))
    whole = (
        "hi", "Label", f"From{channel}{VICTIM}",
        dice.choice(("", "FromX", "Label", "InteractiveData")),
        f"MessageSid{FORGED}", dice.choice(("", "N", "ProfileName")), f"SmsMessageSid{FORGED}",
        f"SmsSid{FORGED}", dice.choice(("", "SmsStatusreceived")), f"To{channel}{BOT}",
        dice.choice(("", "ToX", "Z", "zz")),
    )  # fmt: skip
    return "".join(piece for piece in whole if dice.random() < 0.8)


def recuts(
    text: str, wanted: Sequence[str], dice: random.Random
) -> Iterator[list[tuple[str, str]]]:
    """Yield ways to cut a signed text anew in which these names, sorted, begin fields.

    Each stands where it is written somewhere in the text; what is left between two of them is
    swallowed by the first, or by fields with whatever names sort into the place.
    """
    places = {name: [m.start() for m in re.finditer(name, text)] for name in wanted}
    for _ in range(40):
        starts, at = [], 0
        for name in wanted:
            later = [place for place in places[name] if place >= at]
            if not later or dice.random() < 0.05:
                continue
            place = dice.choice(later)
            starts.append((place, name))
            at = place + len(name)
        if not starts or starts[0][0] != 0:
            continue
        ends = [place for place, _ in starts[1:]] + [len(text)]
        fields: list[tuple[str, str]] = []
        for (place, name), end in zip(starts, ends, strict=True):
            value = text[place + len(name) : end]
            stop = dice.choice(_ends(value))
            fields.append((name, value[:stop]))
            fields += _fillers(value[stop:], name, dice)
        if is_sorted(fields):
            yield fields


_SHAPE = re.compile(
    r"(?:SM|MM|AC)[0-9a-f]{32}|(?:[a-z]+:)?\+?[0-9]+|whatsapp:US.[0-9]+|[a-z_]+|[0-9]+"
)


def _ends(value: str) -> Sequence[int]:
    """Return where a value may end: behind what looks like one, or at its whole end."""
    shape = _SHAPE.match(value)
    return (len(value), *((shape.end(), shape.end()) if shape else ()), 0)


def _fillers(text: str, behind: str, dice: random.Random) -> list[tuple[str, str]]:
    """Cut what is left over into fields whose names sort behind another, if that can be."""
    fields: list[tuple[str, str]] = []
    while text:
        longest = re.match(r"[A-Za-z0-9_]*", text)
        lengths = [n for n in range(1, longest.end() + 1) if text[:n] > behind] if longest else []
        if not lengths:
            return [("", text)]  # is_sorted refuses it
        length = dice.choice(lengths[:1] * 3 + lengths)
        end = len(text) if dice.random() < 0.6 else dice.randrange(length, len(text) + 1)
        behind = text[:length]
        fields.append((behind, text[length:end]))
        text = text[end:]
    return fields


def nudged(fields: Sequence[tuple[str, str]], dice: random.Random) -> list[tuple[str, str]]:
    """Return sorted fields with a cut or two moved, removed or made."""
    made = list(fields)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(made))
        if any(made[at]):
            dice.choice(_NUDGES)(made, at, dice)
    return made


def is_sorted(fields: Sequence[tuple[str, str]]) -> bool:
    """Say whether these fields are signed like their names and values one after the other."""
    return all(name for name, _ in fields) and sorted(set(fields)) == list(fields)


def _merge(fields: list[tuple[str, str]], at: int, _: random.Random) -> None:
    if at + 1 < len(fields):
        (name, value), (next_name, next_value) = fields[at : at + 2]
        fields[at : at + 2] = [(name, value + next_name + next_value)]


def _move_within(fields: list[tuple[str, str]], at: int, dice: random.Random) -> None:
    whole = "".join(fields[at])
    cut = dice.randrange(1, len(whole) + 1)
    fields[at] = (whole[:cut], whole[cut:])


def _move_between(fields: list[tuple[str, str]], at: int, dice: random.Random) -> None:
    if at + 1 < len(fields):
        (name, value), (next_name, next_value) = fields[at : at + 2]
        if dice.random() < 0.5:
            given = dice.randrange(len(next_name) + 1)
            fields[at : at + 2] = [
                (name, value + next_name[:given]),
                (next_name[given:], next_value),
            ]
        else:
            kept = dice.randrange(len(value) + 1)
            fields[at : at + 2] = [(name, value[:kept]), (value[kept:] + next_name, next_value)]


def _split(fields: list[tuple[str, str]], at: int, dice: random.Random) -> None:
    name, value = fields[at]
    if len(value) > 1:
        cut = dice.randrange(len(value))
        end = dice.randrange(cut + 1, len(value) + 1)
        fields[at : at + 1] = [(name, value[:cut]), (value[cut:end], value[end:])]


_NUDGES: Sequence[Callable[[list[tuple[str, str]], int, random.Random], None]] = (
    _merge, _move_within, _move_between, _split,
)  # fmt: skip
