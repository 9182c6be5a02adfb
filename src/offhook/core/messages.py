"""The values that handlers receive and return: messages, statuses, replies. Frozen, without I/O.

Parameters: https://www.twilio.com/docs/messaging/guides/webhook-request and
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Final, Self

from offhook.core.addresses import channel_of
from offhook.core.identity import user_id_of
from offhook.core.lifecycle import Delivery, SendState
from offhook.core.opt_outs import TWILIO_WORDS, OptOuts
from offhook.core.texts import well_formed
from offhook.core.urls import leads_somewhere
from offhook.errors import InvalidReply

MAX_MEDIA: Final = 10
"""Media of one message: https://www.twilio.com/docs/messaging/api/message-resource"""

_CONTENT_SID: Final = re.compile("HX[0-9a-fA-F]{32}")

_SHOWN: Final = 60  # characters of what is wrong, in an error


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment of an inbound message.

    Attributes:
        url: its URL, which requires the account's credentials.
        content_type: its type, such as `image/jpeg`.
    """

    url: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Button:
    """The button of a template that the person pressed.

    Attributes:
        text: its label.
        payload: its payload, set in the template.
        type: `REPLY` or `ACTION`; empty if Twilio does not send it.
    """

    text: str
    payload: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """A location that the person shared.

    Attributes:
        latitude, longitude: in degrees.
        label: its name.
        address: its address, as text.
    """

    latitude: float
    longitude: float
    label: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Referral:
    """The advertisement through which the person came.

    Attributes:
        body: its text.
        headline: its headline.
        source_id: its identifier at Meta.
        source_type: its type: `post`, `ad`, ...
        source_url: its URL.
        click_id: the identifier of the click, for Meta's Conversions API.
    """

    body: str = ""
    headline: str = ""
    source_id: str = ""
    source_type: str = ""
    source_url: str = ""
    click_id: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A content template, which WhatsApp delivers at any time.

    Args:
        sid: its SID at Twilio: `HX` and 32 hexadecimal digits.
        variables: the values of its variables by their names, such as `{"1": "Ada"}`. Both are
            `str`, as Twilio's ContentVariables are. Lone surrogates become U+FFFD.

    Raises:
        InvalidReply: the SID is none, or a variable is not text.
    """

    sid: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.sid, str) or not _CONTENT_SID.fullmatch(self.sid):
            raise InvalidReply(
                f"the SID of a content template is HX and 32 hexadecimal digits, "
                f"not {_brief(self.sid)}"
            )
        object.__setattr__(self, "variables", _variables(self.variables, "variables"))


@dataclass(frozen=True, slots=True)
class Reply:
    """A message to send back.

    Args:
        body: the text. Texts of more than 1,600 characters are sent as several messages. Surrogate
            pairs are joined; a lone surrogate becomes U+FFFD, here and in the variables.
        media: up to ten `https://` or `http://` URLs that Twilio can fetch.
        to: the recipient, an E.164 number or `whatsapp:+...`; by default the person who wrote.
        content_sid: a content template (`HX...`) instead of a body, as WhatsApp requires outside
            its 24-hour window.
        content_variables: the variables of the template.
        fallback: the template that goes out instead where WhatsApp delivers no text, because the
            person has not written for 24 hours. Ignored on other channels.

    Raises:
        InvalidReply: there is nothing to send, more than Twilio accepts, or a value is not text.
    """

    body: str = ""
    _: KW_ONLY
    media: Sequence[str] = ()
    to: str = ""
    content_sid: str = ""
    content_variables: Mapping[str, str] = field(default_factory=dict)
    fallback: Template | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.body, str):
            raise InvalidReply(f"the body of a reply is a str, not {type(self.body).__name__}")
        object.__setattr__(self, "body", well_formed(self.body))
        object.__setattr__(self, "media", _urls(self.media))
        variables = _variables(self.content_variables, "content_variables")
        object.__setattr__(self, "content_variables", variables)
        if not isinstance(self.to, str) or not self.to.isprintable():
            raise InvalidReply(f"to is a printable str, not {self.to!a}")
        if self.content_sid != "":
            Template(self.content_sid, variables)  # checks it
        if not isinstance(self.fallback, Template | None):
            raise InvalidReply(
                f"fallback is a Template, not {type(self.fallback).__name__}: "
                'Template("HX...", {"1": "Ada"})'
            )
        if self.fallback and self.content_sid:
            raise InvalidReply("a reply with a content_sid needs no fallback: it is a template")
        if not (self.body.strip() or self.media or self.content_sid):
            raise InvalidReply("a reply needs a text, media or a content_sid (Twilio error 14103)")


def _urls(media: object) -> tuple[str, ...]:
    if not isinstance(media, Sequence) or isinstance(media, str):
        raise InvalidReply(f"media is a list of URLs, not one {type(media).__name__}")
    if len(media) > MAX_MEDIA:
        raise InvalidReply(f"{len(media)} media: a message takes {MAX_MEDIA}")
    for url in media:
        if not isinstance(url, str) or not leads_somewhere(url):
            raise InvalidReply(
                f"media are URLs that Twilio can fetch, beginning with https:// or http://; "
                f"{_brief(url)} is none (Twilio error 21620)"
            )
    return tuple(media)


def _variables(given: object, name: str) -> Mapping[str, str]:
    if not isinstance(given, Mapping):
        raise InvalidReply(f"{name} is a dict, not {type(given).__name__}")
    for part in (*given, *given.values()):
        if not isinstance(part, str):
            raise InvalidReply(f"{name} are str, not {type(part).__name__}")
    return {well_formed(name): well_formed(value) for name, value in given.items()}


def _brief(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def replies(answer: object) -> tuple[Reply, ...]:
    """Return the replies in a handler's return value. A `Send` of `message.reply` is not one.

    Raises:
        InvalidReply: the value is neither a str, a Reply, a list of them nor None.
    """
    match answer:
        case None | Send():
            return ()
        case Reply():
            return (answer,)
        case str():
            return (Reply(answer),)
        case list() | tuple():
            return tuple(reply for part in answer for reply in replies(part))
    raise InvalidReply(
        f"a handler returns a str, a Reply, a list of them or None, not {type(answer).__name__}"
    )


@dataclass(frozen=True, slots=True)
class Send:
    """A reply in the ledger, or a send that answers no message.

    Attributes:
        id: its number in the ledger.
        identity: `reply:0`, `return:0`, `notice:slow` or `key:...`, unique per message. A repeated
            attempt that reaches the same identity gets this send. `fallback:reply:0` is the
            template that was sent because WhatsApp had refused `reply:0`.
        state: scheduled, pending, sending, sent, failed, undelivered, unknown,
            replaced or canceled.
        body: the text.
        to: the recipient.
        sid: Twilio's MessageSid, once known.
        delivery: the last status that Twilio reported.
        error: the reason if it failed, for people.
        error_code: Twilio's error code if it was refused or not delivered; empty otherwise.
        repeated: True if it existed already and nothing was written.
        content_sid: the content template as which it is sent; empty for a text.
        fallback_reason: why the fallback of a reply is sent instead of its text; empty if it is
            not.
    """

    id: int
    identity: str
    state: SendState
    body: str
    to: str
    sid: str = ""
    delivery: Delivery | None = None
    error: str = ""
    error_code: str = ""
    repeated: bool = False
    content_sid: str = ""
    fallback_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """An inbound SMS, MMS or WhatsApp message, as its webhook describes it.

    Attributes:
        sid: the MessageSid; use it as an idempotency key.
        account_sid: the account that received it.
        from_: the sender, as Twilio writes it: E.164, or `whatsapp:+...`.
        to: your number, to which it was sent.
        body: the text; empty for a picture without text.
        channel: `sms`, `whatsapp`, `messenger`, `rcs`, ...: the prefix of the address in lower
            case, `sms` without one.
        media: the attachments, in their order.
        messaging_service_sid: the Messaging Service of the number; empty without one.
        segments: the number of SMS segments of the text.
        profile_name: the person's name, on WhatsApp.
        wa_id: the person's WhatsApp number, without `+`.
        user_id: the person's business-scoped id on WhatsApp (`ExternalUserId`), as an address to
            which you can send: `whatsapp:US.1349...`; empty without one. People who do not show
            their number have it as `from_`. It changes when they change their number.
        button: the button of a template that the person pressed.
        location: the location that the person shared.
        referral: the advertisement through which the person came.
        replied_to_sid: the message of the last 7 days that this one answers; empty for none.
        forwarded: whether it was forwarded, on WhatsApp.
        opt_out: `STOP`, `START` or `HELP` if it is an opt-out; always empty in message handlers.
        city, state, zip, country: where the sender's number is registered, if Twilio knows.
        raw: all parameters by name, including those without an attribute.
        attempt: the number of the attempt, from 1.
    """

    sid: str
    account_sid: str
    from_: str
    to: str
    body: str
    channel: str
    media: tuple[Attachment, ...]
    messaging_service_sid: str
    segments: int
    profile_name: str
    wa_id: str
    user_id: str
    button: Button | None
    location: Location | None
    referral: Referral | None
    replied_to_sid: str
    forwarded: bool
    opt_out: str
    city: str
    state: str
    zip: str
    country: str
    raw: Mapping[str, str] = field(repr=False)
    attempt: int = 1

    _attachment: ClassVar[type[Attachment]] = Attachment

    @classmethod
    def parse(
        cls, raw: Mapping[str, str], *, attempt: int = 1, opt_outs: OptOuts | None = None
    ) -> Self:
        """Return the message that a webhook's parameters describe."""
        get = raw.get
        return cls(
            sid=message_sid(raw),
            account_sid=get("AccountSid", ""),
            from_=get("From", ""),
            to=get("To", ""),
            body=get("Body", ""),
            channel=channel_of(get("From", "")),
            media=tuple(cls._attachment(url, type_) for url, type_ in _media(raw)),
            messaging_service_sid=get("MessagingServiceSid", ""),
            segments=_count(get("NumSegments", "1")),
            profile_name=get("ProfileName", ""),
            wa_id=get("WaId", ""),
            user_id=user_id_of(raw),
            button=_button(raw),
            location=_location(raw),
            referral=_referral(raw),
            replied_to_sid=get("OriginalRepliedMessageSid", ""),
            # WhatsApp sends the word "false" too (seen in captures).
            forwarded="true" in (get("Forwarded", ""), get("FrequentlyForwarded", "")),
            opt_out=(opt_outs or TWILIO_WORDS).kind(raw),
            city=get("FromCity", ""),
            state=get("FromState", ""),
            zip=get("FromZip", ""),
            country=get("FromCountry", ""),
            raw=raw,
            attempt=attempt,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """A status that Twilio reports of a sent message: queued, sent, delivered, read, failed, ...

    Callbacks may arrive in any order; `Send.delivery` in the ledger never moves backwards.

    Attributes:
        sid: the MessageSid of the sent message.
        account_sid: the account that sent it.
        status: the status, as Twilio names it.
        error_code: Twilio's error code, with `failed` and `undelivered`; empty otherwise.
        from_: your number.
        to: the person's address.
        raw: all parameters by name.
        attempt: the number of the attempt, from 1.
    """

    sid: str
    account_sid: str
    status: str
    error_code: str
    from_: str
    to: str
    raw: Mapping[str, str] = field(repr=False)
    attempt: int = 1

    @classmethod
    def parse(cls, raw: Mapping[str, str], *, attempt: int = 1) -> Self:
        """Return the status that a callback's parameters describe."""
        return cls(
            sid=message_sid(raw),
            account_sid=raw.get("AccountSid", ""),
            status=message_status(raw),
            error_code=raw.get("ErrorCode", ""),
            from_=raw.get("From", ""),
            to=raw.get("To", ""),
            raw=raw,
            attempt=attempt,
        )


def message_sid(raw: Mapping[str, str]) -> str:
    """Return the MessageSid, under the name Twilio uses today or used to."""
    return raw.get("MessageSid") or raw.get("SmsMessageSid") or raw.get("SmsSid") or ""


def message_status(raw: Mapping[str, str]) -> str:
    """Return the MessageStatus, under the name Twilio uses today or used to."""
    return raw.get("MessageStatus") or raw.get("SmsStatus") or ""


def _count(text: str) -> int:
    # Bounded before int(): what a client sends may have thousands of digits.
    return int(text[:4]) if text.isascii() and text.isdigit() else 0


def _media(raw: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for n in range(min(_count(raw.get("NumMedia", "0")), 100)):
        if f"MediaUrl{n}" in raw:
            yield raw[f"MediaUrl{n}"], raw.get(f"MediaContentType{n}", "")


def _button(raw: Mapping[str, str]) -> Button | None:
    if "ButtonText" not in raw and "ButtonPayload" not in raw:
        return None
    return Button(
        raw.get("ButtonText", ""), raw.get("ButtonPayload", ""), raw.get("ButtonType", "")
    )


def _location(raw: Mapping[str, str]) -> Location | None:
    if "Latitude" not in raw or "Longitude" not in raw:
        return None
    try:
        latitude, longitude = float(raw["Latitude"]), float(raw["Longitude"])
    except ValueError:
        return None
    return Location(latitude, longitude, raw.get("Label", ""), raw.get("Address", ""))


_REFERRAL: Final = {
    "body": "ReferralBody",
    "headline": "ReferralHeadline",
    "source_id": "ReferralSourceId",
    "source_type": "ReferralSourceType",
    "source_url": "ReferralSourceUrl",
    "click_id": "ReferralCtwaClid",
}


def _referral(raw: Mapping[str, str]) -> Referral | None:
    found = {name: raw[key] for name, key in _REFERRAL.items() if raw.get(key)}
    return Referral(**found) if found else None
