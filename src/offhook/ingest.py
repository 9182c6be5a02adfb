"""The hot path: a webhook is validated, stored and acknowledged, in this order."""

import time
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from time import perf_counter
from traceback import extract_tb
from typing import Final

from offhook.core.answers import REFUSED, STORED, Answer, Fault
from offhook.core.forms import Refusal
from offhook.core.hosts import HostNames, host_name
from offhook.core.keys import Kind
from offhook.core.urls import MESSAGES, STATUS
from offhook.credentials import Credentials
from offhook.deadline import Deadline
from offhook.deferral import defer
from offhook.errors import BacklogFull, CredentialsUnavailable, StoreUnavailable
from offhook.events import Answered, Observer, Problem, Topic
from offhook.hosts import allowed_hosts
from offhook.patience import StoreWatch
from offhook.ports import (
    CachedVerdict,
    Inbound,
    Intake,
    ValidationCache,
    ValidationCacheEntry,
)
from offhook.request import Request
from offhook.settings import Settings, TimeoutPolicy
from offhook.validation import DIAGNOSIS_INTERVAL, Outcome, Validator
from offhook.verification import Verifier

__all__ = ["DIAGNOSIS_INTERVAL", "Acknowledge", "Request", "WebhookProcessor"]

Acknowledge = Callable[[Answer], Awaitable[None]]
"""Sends an answer; returns when it has left. Must not raise because the client is gone."""

# A request is refused for ever when it is its own fault. The lack of a token is ours.
_FOR_EVER: Final = frozenset(
    {reason.value for reason in Refusal}
    | {
        Fault.RECUT_FIELDS.value,
        Fault.CONVERSATIONS_EVENT.value,
        Fault.JSON_BODY.value,
        Fault.MISSING_ACCOUNT_SID.value,
        Fault.MISSING_MESSAGE_SID.value,
        Fault.MISSING_FROM.value,
        Fault.MISSING_TO.value,
        Fault.MISSING_MESSAGE_STATUS.value,
    }
) - {Refusal.NO_AUTH_TOKEN.value}


class WebhookProcessor:
    """Answers webhooks: 2xx only for what is stored, and for nothing that is not Twilio's.

    Args:
        store: where webhooks go.
        settings: `auth_token`, `signature`, `account_sid`, `signature_timeout`,
            `on_signature_timeout`, `enqueue_timeout`, `slow_notice`, `slow_notice_after`,
            `public_url` and `allowed_hosts` are read, once.
        observer: is told `Answered` once for each request, after its answer has left.
        cache: remembers what was answered; None for no memory.
        credentials: knows the tokens; None for those of the settings.
        deferred: where requests go whose tokens can't be had in time; None for `store`.
    """

    def __init__(
        self,
        store: Intake,
        settings: Settings,
        observer: Observer,
        *,
        cache: ValidationCache | None = None,
        credentials: Credentials | None = None,
        deferred: Intake | None = None,
    ) -> None:
        self._store = store
        self._deferred = deferred or store
        self._observe = observer
        self._cache = cache
        self._validator = Validator(settings)
        self._verifier = Verifier(
            self._validator, credentials or Credentials(settings, None, observer)
        )
        self._signature_deadline = Deadline(settings.signature_timeout)
        self._defers = settings.on_signature_timeout is TimeoutPolicy.DEFER
        self._enqueue_deadline = Deadline(settings.enqueue_timeout)
        self._hosts = None if settings.public_url else allowed_hosts(settings)
        self._watch = StoreWatch(observer, "webhooks are answered 503")
        self._next_misled = 0.0

    async def process(self, request: Request, acknowledge: Acknowledge) -> None:
        """Validate a webhook, store it, and only then acknowledge it.

        Guarantees that `acknowledge` is called once; with 2xx only when the store has the
        webhook durably, or had it before. Raises nothing but what `acknowledge` raises, and
        `asyncio.CancelledError`.
        """
        cache = self._cache
        if cache is None:
            await self._process(request, acknowledge)
            return
        key = request.fingerprint(secret=cache.secret, kind=request.kind)
        entry, cached = cache.get(key), "memory"
        if entry is None and (asked := cache.ask(key)) is not None:
            entry, cached = await asked, "redis"
        if entry is None:
            outcome = await self._process(request, acknowledge)
            _remember(cache, key, outcome)
        else:
            await self._answer_again(request, entry, cached, acknowledge)

    async def refuse(
        self, kind: Kind, answer: Answer, acknowledge: Acknowledge, *, started: float
    ) -> None:
        """Answer a webhook that could not even be read. Raises what `acknowledge` raises."""
        refused_at = perf_counter()
        await acknowledge(answer)
        self._tell(kind, Outcome(answer), started, refused_at, refused_at)

    async def tell_astray(self, request: Request, messages: str, status: str) -> None:
        """Tell the operator of a request to no route, if Twilio has signed it. Raises nothing.

        Args:
            request: that was answered 404.
            messages: the URL at which messages are answered.
            status: the URL at which delivery statuses are.
        """
        try:
            with self._signature_deadline:
                genuine = await self._verifier.is_signed(request)
        except (CredentialsUnavailable, TimeoutError):
            return
        except Exception as error:  # noqa: BLE001 - see _validate
            self._unexpected(error)
            return
        if genuine:
            text = (
                f"Twilio called {request.base + request.path!a}, which is not a route: set "
                f"{ascii(messages)[1:-1]} for messages, {ascii(status)[1:-1]} for statuses"
            )
            self._observe(Problem(Topic.ASTRAY, text))

    async def _process(self, request: Request, acknowledge: Acknowledge) -> Outcome:
        validated = self._validate(request)
        if validated is None:
            validated = await self._verify(request)
        if self._hosts is not None and isinstance(validated, Inbound):
            validated = self._for_another(request, self._hosts) or validated
        validated_at = perf_counter()
        if isinstance(validated, Inbound):
            outcome = await self._enqueue(request.kind, validated)
            enqueued_at = perf_counter()
        else:
            outcome, enqueued_at = validated, validated_at
        await acknowledge(outcome.answer)
        if isinstance(validated, Inbound) and validated.kind is not request.kind:
            self._tell_misled(request, validated.kind)
        self._tell(request.kind, outcome, request.started, validated_at, enqueued_at)
        return outcome

    async def _answer_again(
        self,
        request: Request,
        entry: ValidationCacheEntry,
        cached: str,
        acknowledge: Acknowledge,
    ) -> None:
        found_at = perf_counter()
        await acknowledge(entry.answer)
        outcome = Outcome(
            entry.answer,
            repeat=entry.verdict is CachedVerdict.VALID,
            sid=entry.message_sid,
            sender=entry.sender,
            cached=cached,
        )
        self._tell(request.kind, outcome, request.started, found_at, found_at)

    def _validate(self, request: Request) -> Inbound | Outcome | None:
        try:
            return self._verifier.at_once(request)
        except Exception as error:  # noqa: BLE001 - answered, whatever it is: Twilio then falls back
            return self._unexpected(error)

    async def _verify(self, request: Request) -> Inbound | Outcome:
        """Validate a request whose tokens have to be found; defer it when they can't be."""
        try:
            with self._signature_deadline:
                return await self._verifier.verify(request)
        except (CredentialsUnavailable, TimeoutError) as error:
            detail = str(error) or "@app.credentials did not answer in OFFHOOK_SIGNATURE_TIMEOUT"
        except Exception as error:  # noqa: BLE001 - see _validate
            return self._unexpected(error)
        if self._defers:
            return defer(request, self._validator.claimed_account(request))
        return Outcome(REFUSED[Fault.CREDENTIALS_UNAVAILABLE], detail=detail)

    def _for_another(self, request: Request, hosts: HostNames) -> Outcome | None:
        """Return why not to take a webhook that was called by another host's name.

        Its signature fits: all bots of an account have the same token.
        """
        name = host_name(request.base.partition("://")[2])
        if name in hosts:
            return None
        detail = (
            f"the URL that was called is {request.base + request.path!a}, whose host is not "
            f"allowed: set OFFHOOK_PUBLIC_URL={ascii(request.base)[1:-1]}, or add "
            f"{ascii(name)[1:-1]} to OFFHOOK_ALLOWED_HOSTS"
        )
        return Outcome(REFUSED[Fault.HOST_NOT_ALLOWED], detail=detail)

    async def _enqueue(self, kind: Kind, inbound: Inbound) -> Outcome:
        sid, sender = inbound.sid, inbound.sender
        deferred = inbound.kind is Kind.DEFERRED
        store = self._deferred if deferred else self._store
        try:
            with self._enqueue_deadline:
                new = await store.accept(inbound)
        except StoreUnavailable as error:
            self._watch.away(error)
            refused = REFUSED[Fault.STORE_UNAVAILABLE]
            return Outcome(refused, sid=sid, sender=sender, detail=str(error))
        except BacklogFull as error:
            refused = REFUSED[Fault.BACKLOG_FULL]
            return Outcome(refused, sid=sid, sender=sender, detail=str(error))
        except TimeoutError:
            return Outcome(REFUSED[Fault.STORE_TIMEOUT], sid=sid, sender=sender)
        except Exception as error:  # noqa: BLE001 - see _validate
            return self._unexpected(error)
        self._watch.back()
        return Outcome(STORED[kind], not new, sid, sender, deferred=deferred)

    def _tell(
        self, kind: Kind, outcome: Outcome, started: float, validated: float, enqueued: float
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
                outcome.cached,
                outcome.deferred,
            )
        )

    def _tell_misled(self, request: Request, kind: Kind) -> None:
        """Tell that a status callback came to where messages go, at most once a second."""
        if kind is not Kind.STATUS or request.started < self._next_misled:
            return
        self._next_misled = request.started + DIAGNOSIS_INTERVAL
        right = request.base + request.path.removesuffix(MESSAGES) + STATUS
        text = (
            f"status callbacks arrive at {request.path!a}, which is for messages; they are "
            f"recorded, but set {right!a} as the StatusCallback of what you send, or as the "
            "Messaging Service's Delivery Status Callback"
        )
        self._observe(Problem(Topic.STATUS_AT_MESSAGES, text))

    def _unexpected(self, error: Exception) -> Outcome:
        # Its place and type, not its text, which may quote what a person wrote.
        frame = extract_tb(error.__traceback__)[-1]
        where = f"{PurePath(frame.filename).name}:{frame.lineno}"
        text = f"{type(error).__name__} at {where} while answering a webhook"
        self._observe(Problem(Topic.INTERNAL_ERROR, text))
        return Outcome(REFUSED[Fault.INTERNAL_ERROR], detail=text)


def _remember(cache: ValidationCache, key: bytes, outcome: Outcome) -> None:
    """Remember what will be so again; by now it has been committed, and answered."""
    answer = outcome.answer
    if not answer.error:
        if not outcome.deferred:  # nobody knows yet whether it is genuine
            entry = ValidationCacheEntry(
                CachedVerdict.VALID, answer, time.time(), outcome.sid, outcome.sender
            )
            cache.put(key, entry, repeat=outcome.repeat)
    elif answer.error in _FOR_EVER:
        cache.put(key, ValidationCacheEntry(CachedVerdict.REFUSED, answer, time.time()))
