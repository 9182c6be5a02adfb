"""The hot path: a webhook is validated, stored and acknowledged, in this order."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath
from time import perf_counter
from traceback import extract_tb
from typing import Final, NamedTuple

from offhook.core.answers import REFUSED, STORED, Answer, Fault, Reason
from offhook.core.diagnosis import checked, explain_mismatch
from offhook.core.forms import MAX_FIELDS, Form, FormError, Refusal, decode_form
from offhook.core.keys import Kind, dedupe_key, is_recut, lane_of
from offhook.core.messages import message_sid, message_status, opt_out
from offhook.core.signature import verify
from offhook.deadline import Deadline
from offhook.errors import StoreUnavailable
from offhook.events import Answered, Observer, Trouble
from offhook.ports import Inbound, Queue
from offhook.settings import Settings, SignaturePolicy

Acknowledge = Callable[[Answer], Awaitable[None]]
"""Sends an answer; returns when it has left. Must not raise because the client is gone."""

_FORM: Final = "application/x-www-form-urlencoded"

# A flood of forged requests must not buy a flood of HMACs: one refusal in so many seconds is
# looked into, which is enough to mend a setting by.
DIAGNOSIS_INTERVAL: Final = 1.0


def _none() -> tuple[str, ...]:
    return ()


class Request(NamedTuple):
    """A webhook as it came over the wire.

    A named tuple, because one is made for each request: a frozen dataclass of ten fields costs
    2.3 us, this 0.6.

    Attributes:
        base: the public URL up to the path, without a slash at its end.
        path: the raw path, query: the raw query; nothing decoded.
        started: when it arrived, by `time.perf_counter`.
        other_bases: returns what else Twilio may have called it by; asked only when the
            signature does not fit, for the operator.
    """

    kind: Kind
    method: str
    base: str
    path: str
    query: bytes
    content_type: str | None
    signature: str
    body: bytes
    started: float
    other_bases: Callable[[], Iterable[str]] = _none

    def __repr__(self) -> str:
        """Leave out what must not be logged: all that a person wrote, and the signature."""
        return f"Request({self.kind}, {self.method} {self.base + self.path!a})"

    @property
    def url(self) -> str:
        """The URL as Twilio called, and signed, it."""
        if not self.query:
            return self.base + self.path
        return f"{self.base}{self.path}?{self.query_text}"

    @property
    def query_text(self) -> str:
        """The query as text; bytes that are not UTF-8 stay recognisable as such."""
        return self.query.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a webhook is answered, and what is told about it."""

    answer: Answer
    repeat: bool = False
    sid: str = ""
    sender: str = ""
    detail: str = ""


class WebhookProcessor:
    """Answers webhooks: 2xx only for what is stored, and for nothing that is not Twilio's.

    Args:
        store: where webhooks go.
        settings: `auth_token`, `signature`, `account_sid`, `enqueue_timeout`, `slow_notice` and
            `slow_notice_after` are read, once.
        observer: is told `Answered` once for each request, after its answer has left.
    """

    def __init__(self, store: Queue, settings: Settings, observer: Observer) -> None:
        self._store = store
        self._observe = observer
        self._auth_tokens = settings.auth_tokens
        self._signed = settings.signature is not SignaturePolicy.OFF
        self._account_sid = settings.account_sid
        self._enqueue_deadline = Deadline(settings.enqueue_timeout)
        self._notice_after = settings.slow_notice_after if settings.slow_notice else None
        self._next_diagnosis = 0.0

    async def process(self, request: Request, acknowledge: Acknowledge) -> None:
        """Validate a webhook, store it, and only then acknowledge it.

        Guarantees that `acknowledge` is called once; with 2xx only when the store has the
        webhook durably, or had it before. Raises nothing but what `acknowledge` raises, and
        `asyncio.CancelledError`.
        """
        validated = self._validate(request)
        validated_at = perf_counter()
        if isinstance(validated, Inbound):
            outcome = await self._enqueue(validated)
            enqueued_at = perf_counter()
        else:
            outcome, enqueued_at = validated, validated_at
        await acknowledge(outcome.answer)
        self._tell(request.kind, outcome, request.started, validated_at, enqueued_at)

    async def refuse(
        self, kind: Kind, answer: Answer, acknowledge: Acknowledge, *, started: float
    ) -> None:
        """Answer a webhook that could not even be read. Raises what `acknowledge` raises."""
        refused_at = perf_counter()
        await acknowledge(answer)
        self._tell(kind, _Outcome(answer), started, refused_at, refused_at)

    def _validate(self, request: Request) -> Inbound | _Outcome:
        try:
            form = self._believe(request)
            if isinstance(form, Refusal):
                return _Outcome(REFUSED[form], detail=self._why(request, form))
            return self._inbound(request, form)
        except FormError as error:
            return _Outcome(REFUSED[error.refusal])
        except Exception as error:  # noqa: BLE001 - answered, whatever it is: Twilio then falls back
            return self._unexpected(error)

    async def _enqueue(self, inbound: Inbound) -> _Outcome:
        sid, sender = inbound.sid, inbound.sender
        try:
            with self._enqueue_deadline:
                new = await self._store.accept(inbound)
        except StoreUnavailable as error:
            refused = REFUSED[Fault.STORE_UNAVAILABLE]
            return _Outcome(refused, sid=sid, sender=sender, detail=str(error))
        except TimeoutError:
            return _Outcome(REFUSED[Fault.STORE_TIMEOUT], sid=sid, sender=sender)
        except Exception as error:  # noqa: BLE001 - see _validate
            return self._unexpected(error)
        return _Outcome(STORED[inbound.kind], not new, sid, sender)

    def _tell(
        self, kind: Kind, outcome: _Outcome, started: float, validated: float, enqueued: float
    ) -> None:
        answer = outcome.answer
        self._observe(
            Answered(
                kind,
                answer.status,
                answer.error,
                outcome.repeat,
                outcome.sid,
                outcome.sender,
                validated - started,
                enqueued - validated,
                perf_counter() - enqueued,
                outcome.detail,
            )
        )

    def _believe(self, request: Request) -> Form | Refusal:
        """Return what the request says, if it may be believed."""
        get = request.method == "GET"
        if not get and not _is_form(request):
            return Refusal.UNSUPPORTED_CONTENT_TYPE
        if not self._signed:
            return decode_form(request.query if get else request.body)
        verdict = verify(
            url=request.url,
            method=request.method,
            content_type=request.content_type,
            body=request.body,
            signature=request.signature,
            auth_tokens=self._auth_tokens,
        )
        if verdict.reason is not None:
            return verdict.reason
        # The signature of a GET covers the URL, and so the query its parameters are in.
        return decode_form(request.query) if verdict.form is None else verdict.form

    def _inbound(self, request: Request, form: Form) -> Inbound | _Outcome:
        kind, raw = request.kind, form.first
        if is_recut(kind, raw):
            return _Outcome(REFUSED[Fault.RECUT_FIELDS], sid=message_sid(raw)[:34])
        missing = _missing(request.kind, form)
        if missing is not None:
            return _Outcome(REFUSED[missing], sid=message_sid(raw), sender=raw.get("From", ""))
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

    def _why(self, request: Request, refusal: Refusal) -> str:
        match refusal:
            case Refusal.NO_AUTH_TOKEN:
                return "TWILIO_AUTH_TOKEN is not set"
            case Refusal.SIGNATURE_MISMATCH if request.started >= self._next_diagnosis:
                return self._diagnose(request)
            case Refusal.SIGNATURE_MISMATCH | Refusal.MALFORMED_URL:
                return checked(request.base, request.path)
            case _:
                return ""

    def _diagnose(self, request: Request) -> str:
        self._next_diagnosis = request.started + DIAGNOSIS_INTERVAL
        return explain_mismatch(
            base=request.base,
            path=request.path,
            query=request.query_text,
            fields=() if request.method == "GET" else decode_form(request.body).fields,
            signature=request.signature,
            auth_tokens=self._auth_tokens,
            other_bases=request.other_bases(),
        )

    def _unexpected(self, error: Exception) -> _Outcome:
        # Its place and type, not its text, which may quote what a person wrote.
        frame = extract_tb(error.__traceback__)[-1]
        where = f"{PurePath(frame.filename).name}:{frame.lineno}"
        text = f"{type(error).__name__} at {where} while answering a webhook"
        self._observe(Trouble("internal-error", text))
        return _Outcome(REFUSED[Fault.INTERNAL_ERROR], detail=text)


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
