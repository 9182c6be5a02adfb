"""Tell Twilio's webhooks from others, and read them: at once, or when tokens were looked up."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from offhook.core.addresses import folded
from offhook.core.form_integrity import flaw
from offhook.core.forms import MAX_FIELDS, Form, FormError, Refusal, decode_form
from offhook.core.keys import Kind, dedupe_key, kind_of, lane_of
from offhook.core.messages import message_sid, message_status
from offhook.core.requests import Request
from offhook.core.responses import Fault, Reason
from offhook.core.signature import Verdict, signed_text, verify
from offhook.core.signature_diagnosis import checked, explain_mismatch
from offhook.ingress.credentials import Credentials
from offhook.ports import Inbound
from offhook.settings import Settings, SignaturePolicy

_FORM: Final = "application/x-www-form-urlencoded"

# https://www.twilio.com/docs/glossary/what-is-a-sid
_ACCOUNT_SID: Final = re.compile(r"AC[0-9a-f]{32}")

_OF_CONVERSATIONS: Final = (
    "this is an event of Twilio Conversations, which is another product: set this URL as the "
    "webhook of the number or the Messaging Service (offhook connect does), not in Conversations"
)
_OF_JSON: Final = (
    "this is JSON, as Studio's HTTP request and Event Streams send it: a message's webhook is a "
    "form; set this URL where Twilio asks for the webhook of a number or a Messaging Service"
)

# A flood of forged requests must not buy a flood of HMACs: one refusal in so many seconds is
# looked into, which is enough to mend a setting by.
DIAGNOSIS_INTERVAL: Final = 1.0


class Rejection(NamedTuple):
    """Why a webhook is not stored; `detail` is for the operator, who sees it in the log."""

    reason: Reason
    detail: str = ""
    sid: str = ""
    sender: str = ""


class Validator:
    """Verifies requests, and reads what to store.

    Args:
        settings: `signature`, `account_sid`, `public_url`, `opt_outs`, `slow_notice` and
            `slow_notice_after` are read, once.
        credentials: has the tokens, or looks them up.
    """

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._credentials = credentials
        self._signed = settings.signature is not SignaturePolicy.OFF
        self._account_sid = settings.account_sid
        self._notice_after = settings.slow_notice_after if settings.slow_notice else None
        self._public_url_given = bool(settings.public_url)
        self._opt_outs = settings.opt_outs
        self._next_diagnosis = 0.0

    def at_once(self, request: Request) -> Inbound | Rejection | None:
        """Return what to store, or why not; None if tokens have to be looked up. No I/O."""
        tokens = self._credentials.everywhere
        if tokens is None and self._signed:
            return None
        return self._validate(request, tokens or ())

    async def verify(self, request: Request) -> Inbound | Rejection:
        """Return what to store, or why not.

        A token that does not fit is looked up again, in case it has been rotated, at most once a
        second for an account.

        Raises:
            CredentialsUnavailable: the tokens can't be looked up at present.
        """
        validated = self.at_once(request)
        if validated is not None:
            return validated
        account = self.claimed_account(request)
        validated = self._validate(request, await self._credentials.find(account))
        if _mismatches(validated):
            tokens = await self._credentials.renewed(account)
            if tokens is not None:
                return self._validate(request, tokens)
        return validated

    async def is_signed(self, request: Request) -> bool:
        """Return whether a request bears a valid signature, whatever else it says.

        Raises:
            CredentialsUnavailable: the tokens can't be looked up at present.
        """
        tokens = self._credentials.everywhere
        if tokens is None:
            tokens = await self._credentials.find(self.claimed_account(request))
        return bool(_verdict(request, tokens))

    def claimed_account(self, request: Request) -> str:
        """Return the account that a request, not believed yet, says it is for.

        Empty when it names none that there can be, or can't be genuine whoever it is for: nobody
        needs to be asked about those.
        """
        get = request.method == "GET"
        if not request.signature or not (get or _is_form(request)):
            return ""
        try:
            form = decode_form(request.query if get else request.body)
        except FormError:
            return ""
        account = form.get("AccountSid") or self._account_sid
        return account if account == self._account_sid or _ACCOUNT_SID.fullmatch(account) else ""

    def _validate(self, request: Request, tokens: tuple[str, ...]) -> Inbound | Rejection:
        try:
            said = self._believe(request, tokens)
            if not isinstance(said, tuple):
                return Rejection(said, self._why(request, said, tokens))
            return self._inbound(request, *said)
        except FormError as error:
            return Rejection(error.refusal)

    def _believe(self, request: Request, tokens: tuple[str, ...]) -> tuple[Form, str] | Reason:
        """Return what the request says, also as one text, if it may be believed."""
        get = request.method == "GET"
        if not get and not _is_form(request):
            genuine = _is_json(request) and self._signed and _verdict(request, tokens)
            return Fault.JSON_BODY if genuine else Refusal.UNSUPPORTED_CONTENT_TYPE
        if not self._signed:
            return _read(request.query if get else request.body)
        verdict = _verdict(request, tokens)
        if verdict.reason is not None:
            return verdict.reason
        # The signature of a GET covers the URL, and so the query its parameters are in.
        return _read(request.query) if verdict.form is None else (verdict.form, verdict.text)

    def _inbound(self, request: Request, form: Form, text: str) -> Inbound | Rejection:
        raw = form.first
        if _is_conversations_event(raw):
            return Rejection(Fault.CONVERSATIONS_EVENT, _OF_CONVERSATIONS)
        kind = kind_of(request.kind, raw)
        recut = flaw(kind, form, text, posted=request.method != "GET")
        if recut:
            return Rejection(Fault.RECUT_FIELDS, recut)
        missing = _missing(kind, form)
        if missing is not None:
            return Rejection(missing, sid=message_sid(raw), sender=raw.get("From", ""))
        quiet = kind is Kind.STATUS or self._notice_after is None or self._opt_outs.kind(raw)
        return Inbound(
            kind,
            dedupe_key(kind, raw),
            lane_of(kind, raw),
            raw["AccountSid"],
            message_sid(raw),
            folded(raw.get("From", "")),
            folded(raw.get("To", "")),
            _parameters(request),
            None if quiet else self._notice_after,
        )

    def _why(self, request: Request, reason: Reason, tokens: tuple[str, ...]) -> str:
        match reason:
            case Fault.JSON_BODY:
                return _OF_JSON
            case Refusal.NO_AUTH_TOKEN:
                return "TWILIO_AUTH_TOKEN is not set"
            case Refusal.SIGNATURE_MISMATCH if request.started >= self._next_diagnosis:
                return self._diagnose(request, tokens)
            case Refusal.SIGNATURE_MISMATCH | Refusal.MALFORMED_URL:
                return checked(request.base, request.path)
            case _:
                return ""

    def _diagnose(self, request: Request, tokens: tuple[str, ...]) -> str:
        self._next_diagnosis = request.started + DIAGNOSIS_INTERVAL
        return explain_mismatch(
            base=request.base,
            path=request.path,
            query=request.query_text,
            fields=() if request.method == "GET" else decode_form(request.body).fields,
            signature=request.signature,
            auth_tokens=tokens,
            other_bases=request.other_bases(),
            given=self._public_url_given,
        )


def _mismatches(validated: Inbound | Rejection) -> bool:
    return isinstance(validated, Rejection) and validated.reason is Refusal.SIGNATURE_MISMATCH


def _read(form: bytes) -> tuple[Form, str]:
    decoded = decode_form(form)
    return decoded, signed_text(decoded)


def _verdict(request: Request, tokens: tuple[str, ...]) -> Verdict:
    return verify(
        url=request.url,
        method=request.method,
        content_type=request.content_type,
        body=request.body,
        signature=request.signature,
        auth_tokens=tokens,
    )


def _is_form(request: Request) -> bool:
    """Say whether a POST claims to be a form: `verify` takes JSON too, which is not due here."""
    if request.content_type == _FORM:
        return True
    media_type = _media_type(request)
    return media_type == _FORM or (not media_type and not request.body)


def _is_json(request: Request) -> bool:
    media_type = _media_type(request)
    return media_type == "application/json" or media_type.endswith("+json")


def _media_type(request: Request) -> str:
    return (request.content_type or "").partition(";")[0].strip().lower()


def _is_conversations_event(raw: Mapping[str, str]) -> bool:
    """Say whether a form is what Twilio Conversations posts, such as `onMessageAdded`.

    https://www.twilio.com/docs/conversations/conversations-webhooks
    """
    return raw.get("EventType", "").startswith("on") and "ConversationSid" in raw


def _missing(kind: Kind, form: Form) -> Reason | None:
    raw = form.first
    if not raw.get("MessageSid"):
        return Fault.MISSING_MESSAGE_SID
    if not raw.get("AccountSid"):
        return Fault.MISSING_ACCOUNT_SID
    if kind is Kind.STATUS and not message_status(raw):
        return Fault.MISSING_MESSAGE_STATUS
    if kind is Kind.MESSAGE and not raw.get("From"):
        return Fault.MISSING_FROM
    return None if raw.get("To") else Fault.MISSING_TO


def _parameters(request: Request) -> bytes:
    """Return the parameters to store.

    A POST's query belongs to them: the status callbacks of our sends carry their ledger's id in
    it. It comes second, so that of two values under one name the form's counts.

    Raises `FormError` when both together cannot be decoded, for nobody could read them later.
    """
    if request.method == "GET":
        return request.query
    if not request.query:
        return request.body
    decode_form(request.query)
    both = request.body + b"&" + request.query
    if both.count(b"&") >= MAX_FIELDS:
        raise FormError(Refusal.TOO_MANY_FIELDS)
    return both
