"""From a request to what is stored, if it may be believed. Pure but for the diagnosis' pace."""

import re
from dataclasses import replace
from typing import Final, NamedTuple

from offhook.core.answers import REFUSED, SIGNER_HEADER, Answer, Fault, Reason
from offhook.core.diagnosis import checked, explain_mismatch
from offhook.core.forms import MAX_FIELDS, Form, FormError, Refusal, decode_form
from offhook.core.keys import Kind, dedupe_key, is_recut, lane_of
from offhook.core.messages import message_sid, message_status, opt_out
from offhook.core.signature import verify
from offhook.ports import Inbound
from offhook.request import Request
from offhook.settings import Settings, SignaturePolicy

_FORM: Final = "application/x-www-form-urlencoded"

# https://www.twilio.com/docs/glossary/what-is-a-sid
_ACCOUNT_SID: Final = re.compile(r"AC[0-9a-f]{32}")

# A flood of forged requests must not buy a flood of HMACs: one refusal in so many seconds is
# looked into, which is enough to mend a setting by.
DIAGNOSIS_INTERVAL: Final = 1.0


class Outcome(NamedTuple):
    """What a webhook is answered, and what is told about it."""

    answer: Answer
    repeat: bool = False
    sid: str = ""
    sender: str = ""
    detail: str = ""
    cached: str = ""
    deferred: bool = False


class Validator:
    """Tells Twilio's webhooks from others, and reads them.

    Args:
        settings: `signature`, `account_sid`, `auth_token`, `slow_notice` and `slow_notice_after`
            are read, once.
    """

    def __init__(self, settings: Settings) -> None:
        self._signed = settings.signature is not SignaturePolicy.OFF
        self._account_sid = settings.account_sid
        self._own_tokens = settings.auth_tokens
        self._signer: tuple[int, float] | None = None  # of the last genuine webhook, and when
        self._notice_after = settings.slow_notice_after if settings.slow_notice else None
        self._public_url_given = bool(settings.public_url)
        self._next_diagnosis = 0.0

    @property
    def signed(self) -> bool:
        """Whether webhooks have to be signed."""
        return self._signed

    def validate(self, request: Request, tokens: tuple[str, ...]) -> Inbound | Outcome:
        """Return what to store, or why not.

        Args:
            request: as it came.
            tokens: any of which may have signed it.
        """
        try:
            form, signer = self._believe(request, tokens)
            if isinstance(form, Refusal):
                return Outcome(REFUSED[form], detail=self._why(request, form, tokens))
            validated = self._inbound(request, form)
            # While a token is rotated; tokens of other accounts are none of these.
            rotated = signer is not None and len(tokens) > 1 and tokens == self._own_tokens
            return self._signed_by(signer or 0, request, validated) if rotated else validated
        except FormError as error:
            return Outcome(REFUSED[error.refusal])

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

    def _believe(
        self, request: Request, tokens: tuple[str, ...]
    ) -> tuple[Form | Refusal, int | None]:
        """Return what the request says, if it may be believed, and which token signed it."""
        get = request.method == "GET"
        if not get and not _is_form(request):
            return Refusal.UNSUPPORTED_CONTENT_TYPE, None
        if not self._signed:
            return decode_form(request.query if get else request.body), None
        verdict = verify(
            url=request.url,
            method=request.method,
            content_type=request.content_type,
            body=request.body,
            signature=request.signature,
            auth_tokens=tokens,
        )
        if verdict.reason is not None:
            return verdict.reason, None
        # The signature of a GET covers the URL, and so the query its parameters are in.
        form = decode_form(request.query) if verdict.form is None else verdict.form
        return form, verdict.token_index

    def _signed_by(
        self, signer: int, request: Request, validated: Inbound | Outcome
    ) -> Inbound | Outcome:
        """Note which token signed a webhook; tell it to who asks, having a token too.

        `offhook doctor` asks, with a request that names no message and so is none of Twilio's.
        """
        if isinstance(validated, Inbound):
            self._signer = signer, request.started
        elif validated.answer.error == Fault.MISSING_MESSAGE_SID and self._signer is not None:
            last, when = self._signer
            told = (SIGNER_HEADER, f"{last + 1} {max(0.0, request.started - when):.0f}".encode())
            answer = replace(validated.answer, headers=(*validated.answer.headers, told))
            return validated._replace(answer=answer)
        return validated

    def _inbound(self, request: Request, form: Form) -> Inbound | Outcome:
        kind, raw = request.kind, form.first
        if is_recut(kind, raw):
            return Outcome(REFUSED[Fault.RECUT_FIELDS], sid=message_sid(raw)[:34])
        missing = _missing(request.kind, form)
        if missing is not None:
            return Outcome(REFUSED[missing], sid=message_sid(raw), sender=raw.get("From", ""))
        if not raw.get("AccountSid"):
            raw = {**raw, "AccountSid": self._account_sid}
        quiet = kind is Kind.STATUS or self._notice_after is None or opt_out(raw)
        return Inbound(
            kind,
            dedupe_key(kind, raw),
            lane_of(kind, raw),
            raw["AccountSid"],
            message_sid(raw),
            raw.get("From", ""),
            raw.get("To", ""),
            _parameters(request),
            None if quiet else self._notice_after,
        )

    def _why(self, request: Request, refusal: Refusal, tokens: tuple[str, ...]) -> str:
        match refusal:
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


def _is_form(request: Request) -> bool:
    """Say whether a POST claims to be a form: `verify` takes JSON too, which is not due here."""
    if request.content_type == _FORM:
        return True
    media_type = (request.content_type or "").partition(";")[0].strip().lower()
    return media_type == _FORM or (not media_type and not request.body)


def _missing(kind: Kind, form: Form) -> Reason | None:
    raw = form.first
    if not message_sid(raw):
        return Fault.MISSING_MESSAGE_SID
    if kind is Kind.STATUS:
        return None if message_status(raw) else Fault.MISSING_MESSAGE_STATUS
    if not raw.get("From"):
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
