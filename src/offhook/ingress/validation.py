"""Tell Twilio's webhooks from others, and read them: at once, or when tokens were looked up."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from offhook.core.addresses import folded
from offhook.core.form_integrity import flaw
from offhook.core.forms import Form, FormError, Refusal
from offhook.core.inbound import Webhook
from offhook.core.keys import Kind, is_status
from offhook.core.messages import message_sid, message_status
from offhook.core.requests import Request
from offhook.core.responses import Fault, Reason
from offhook.core.signature import read, verify
from offhook.core.signature_diagnosis import checked, explain_mismatch
from offhook.ingress.credentials import Credentials
from offhook.settings import Settings, SignaturePolicy

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

# A flood of forged requests must not cause a flood of HMACs: one refusal in so many seconds is
# diagnosed, which is enough to correct a setting.
DIAGNOSIS_INTERVAL: Final = 1.0


class Genuine(NamedTuple):
    """A webhook to be appended.

    Attributes:
        webhook: as it came.
        sid, sender: as of `events.Answered`.
    """

    webhook: Webhook
    sid: str
    sender: str


class Rejection(NamedTuple):
    """Why a webhook is not stored; `detail` is for the operator, who sees it in the log."""

    reason: Reason
    detail: str = ""
    sid: str = ""
    sender: str = ""


class Validator:
    """Tells genuine requests from others, and from those that no store could take.

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

    def at_once(self, request: Request) -> Genuine | Rejection | None:
        """Return what to append, or why not; None if tokens have to be looked up. No I/O."""
        tokens = self._credentials.everywhere
        if tokens is None and self._signed:
            return None
        return self._validate(request, tokens or ())

    async def verify(self, request: Request) -> Genuine | Rejection:
        """Return what to append, or why not.

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
        """Return whether a request can be read and bears a valid signature.

        Raises:
            CredentialsUnavailable: the tokens can't be looked up at present.
        """
        tokens = self._credentials.everywhere
        if tokens is None:
            tokens = await self._credentials.find(self.claimed_account(request))
        return bool(verify(request, tokens))

    def claimed_account(self, request: Request) -> str:
        """Return the account that a request, not verified yet, says it is for.

        Empty if it names none that can exist, or can't be genuine for any account: no tokens need
        to be looked up for those.
        """
        if not request.signature or not (request.bodiless or request.is_form):
            return ""
        try:
            form = request.form()
        except FormError:
            return ""
        account = form.get("AccountSid") or self._account_sid
        return account if account == self._account_sid or _ACCOUNT_SID.fullmatch(account) else ""

    def _validate(self, request: Request, tokens: tuple[str, ...]) -> Genuine | Rejection:
        verdict = verify(request, tokens) if self._signed else read(request)
        if verdict.reason is not None:
            return self._rejected(request, verdict.reason, tokens)
        if verdict.form is None:
            return Rejection(Fault.JSON_BODY, _OF_JSON)
        try:
            return self._judge(request, verdict.form, verdict.text)
        except FormError as error:
            return Rejection(error.refusal)

    def _rejected(self, request: Request, reason: Refusal, tokens: tuple[str, ...]) -> Rejection:
        if not (request.bodiless or request.is_form):
            return Rejection(Refusal.UNSUPPORTED_CONTENT_TYPE)
        match reason:
            case Refusal.NO_AUTH_TOKEN:
                return Rejection(reason, "TWILIO_AUTH_TOKEN is not set")
            case Refusal.SIGNATURE_MISMATCH if request.started >= self._next_diagnosis:
                self._next_diagnosis = request.started + DIAGNOSIS_INTERVAL
                given = self._public_url_given
                return Rejection(reason, explain_mismatch(request, tokens, given=given))
            case Refusal.SIGNATURE_MISMATCH | Refusal.MALFORMED_URL:
                return Rejection(reason, checked(request))
            case _:
                return Rejection(reason)

    def _judge(self, request: Request, form: Form, text: str) -> Genuine | Rejection:
        raw = form.first
        if _is_conversations_event(raw):
            return Rejection(Fault.CONVERSATIONS_EVENT, _OF_CONVERSATIONS)
        kind = Kind.STATUS if is_status(raw) else request.kind
        recut = flaw(kind, form, text, posted=not request.bodiless)
        if recut:
            return Rejection(Fault.RECUT_FIELDS, recut)
        missing = _missing(kind, form)
        if missing is not None:
            return Rejection(missing, sid=message_sid(raw), sender=raw.get("From", ""))
        quiet = kind is Kind.STATUS or self._notice_after is None or self._opt_outs.kind(raw)
        notice_after = None if quiet else self._notice_after
        return Genuine(
            Webhook(kind, request.parameters(), notice_after),
            raw["MessageSid"],
            folded(raw.get("From", "")),
        )


def _mismatches(validated: Genuine | Rejection) -> bool:
    return isinstance(validated, Rejection) and validated.reason is Refusal.SIGNATURE_MISMATCH


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
