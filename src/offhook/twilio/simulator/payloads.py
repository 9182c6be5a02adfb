"""The parameters and headers of Twilio's requests, in the order of captured ones.

SMS: https://www.twilio.com/docs/messaging/guides/webhook-request and a capture of 2023. WhatsApp:
captures of the sandbox, 2026. Status callbacks:
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status.
"""

import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from offhook.core.addresses import channel_of
from offhook.core.messages import Attachment, Button, Location
from offhook.core.segments import segmented
from offhook.twilio.simulator.addresses import user_id_of

Params = tuple[tuple[str, str], ...]

API_VERSION: Final = "2010-04-01"

HEADERS: Final[Mapping[str, str]] = {
    "User-Agent": "TwilioProxy/1.1",
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "Connection": "close",
    "X-Home-Region": "us1",
}
INBOUND_TYPE: Final = "application/x-www-form-urlencoded"
STATUS_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Text:
    """An inbound message.

    Attributes:
        service: the Messaging Service of the number, if any.
        extra: parameters to add or replace.
    """

    sid: str
    account_sid: str
    from_: str
    to: str
    body: str = ""
    media: Sequence[Attachment] = ()
    button: Button | None = None
    location: Location | None = None
    profile_name: str = ""
    service: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def inbound(text: Text) -> Params:
    """Return the parameters of an inbound message's webhook, in the order of the captures."""
    fields = _whatsapp(text) if channel_of(text.from_) == "whatsapp" else _sms(text)
    return tuple((dict(fields) | dict(text.extra)).items())


def media_of(url: str) -> Attachment:
    """Return an attachment, its type guessed from the URL; JPEG if unknown."""
    return Attachment(url, mimetypes.guess_type(url)[0] or "image/jpeg")


def status(
    *,
    sid: str,
    account_sid: str,
    from_: str,
    to: str,
    status: str,
    error_code: str = "",
    service: str = "",
    when: str = "",
) -> Params:
    """Return the parameters of a status callback; empty ones are left out.

    `when` is the `RawDlrDoneDate` of a delivered or undelivered SMS, as YYMMDDhhmm.
    """
    fields = {
        "RawDlrDoneDate": when,
        "ErrorCode": error_code,
        "AccountSid": account_sid,
        "From": from_,
        "To": to,
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsStatus": status,
        "MessageStatus": status,
        "MessagingServiceSid": service,
    }
    if channel_of(to) == "whatsapp":
        fields["ChannelPrefix"] = "whatsapp"
        fields["ChannelToAddress"] = to.partition(":")[2][:-4] + "XXXX"
    fields["ApiVersion"] = API_VERSION
    return tuple((name, value) for name, value in fields.items() if value)


def _sms(text: Text) -> Iterator[tuple[str, str]]:
    # Twilio sends fields for unknown places too, with empty values.
    yield "ToCountry", "US"
    yield from _media_types(text)
    yield "ToState", ""
    yield "SmsMessageSid", text.sid
    yield "NumMedia", str(len(text.media))
    yield "ToCity", ""
    yield "FromZip", ""
    yield "SmsSid", text.sid
    yield "FromState", ""
    yield "SmsStatus", "received"
    yield "FromCity", ""
    yield "Body", text.body
    yield "FromCountry", "US"
    yield "To", text.to
    if text.service:
        yield "MessagingServiceSid", text.service
    yield "ToZip", ""
    yield "NumSegments", str(segmented(text.body).count)
    yield "MessageSid", text.sid
    yield "AccountSid", text.account_sid
    yield "From", text.from_
    yield from _media_urls(text)
    yield "ApiVersion", API_VERSION


def _whatsapp(text: Text) -> Iterator[tuple[str, str]]:
    wa_id = text.from_.partition(":+")[2]  # empty for a user name
    yield from _media_types(text)
    if text.location:
        yield from _location(text.location)
    yield "ExternalUserId", user_id_of(text.from_) if wa_id else text.from_
    yield "SmsMessageSid", text.sid
    yield "NumMedia", str(len(text.media))
    yield "ProfileName", text.profile_name
    yield "MessageType", _type(text)
    yield "SmsSid", text.sid
    if wa_id:
        yield "WaId", wa_id
    yield "SmsStatus", "received"
    if text.button:
        # The position of these two is not known from a capture.
        yield "ButtonText", text.button.text
        yield "ButtonPayload", text.button.payload
    yield "Body", text.body
    yield "To", text.to
    yield "NumSegments", "1"
    yield "ReferralNumMedia", "0"
    yield "MessageSid", text.sid
    yield "AccountSid", text.account_sid
    yield "ChannelMetadata", _metadata(text.profile_name, wa_id)
    yield "From", text.from_
    yield from _media_urls(text)
    yield "ApiVersion", API_VERSION


def _location(location: Location) -> Iterator[tuple[str, str]]:
    yield "Latitude", str(location.latitude)
    yield "Longitude", str(location.longitude)
    if location.address:
        yield "Address", location.address
    if location.label:
        yield "Label", location.label


def _media_types(text: Text) -> Iterator[tuple[str, str]]:
    for index, media in enumerate(text.media):
        yield f"MediaContentType{index}", media.content_type


def _media_urls(text: Text) -> Iterator[tuple[str, str]]:
    for index, media in enumerate(text.media):
        yield f"MediaUrl{index}", media.url


def _type(text: Text) -> str:
    if text.button:
        return "interactive"
    if text.location:
        return "location"
    if not text.media:
        return "text"
    kind = text.media[0].content_type.partition("/")[0]
    if text.media[0].content_type == "text/vcard":
        return "contacts"
    return kind if kind in {"image", "audio", "video"} else "document"


def _metadata(profile_name: str, wa_id: str) -> str:
    context = {"ProfileName": profile_name} | ({"WaId": wa_id} if wa_id else {})
    return json.dumps({"type": "whatsapp", "data": {"context": context}}, separators=(",", ":"))
