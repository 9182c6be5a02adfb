"""Validate a webhook, append it and return the answer; report it once the answer has left.

Nothing here waits but `Reception.receive`, for servers that have a task for each request. Others
call the three steps that it takes: `judge`, `append` and `appended`.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from pathlib import PurePath
from time import perf_counter
from traceback import extract_tb
from typing import Any, Final, NamedTuple

from offhook.concurrency import Deadline
from offhook.core.deferred import Deferred
from offhook.core.forms import Refusal
from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.core.responses import REFUSED, STORED, Answer, Fault
from offhook.core.urls import MESSAGES_PATH, STATUS_PATH
from offhook.errors import BacklogFull, CredentialsUnavailable, StoreUnavailable
from offhook.events import Answered, Observer, Problem, Topic
from offhook.ingress.credentials import Credentials
from offhook.ingress.validation import DIAGNOSIS_INTERVAL, Genuine, Rejection, Validator
from offhook.ports import CachedVerdict, ValidationCache, ValidationCacheEntry
from offhook.settings import Settings, TimeoutPolicy
from offhook.stores.api import Append
from offhook.stores.availability import StoreWatch
from offhook.web.allowed_hosts import allowed_hosts

# The request's own fault, so that the same request will be refused again.
_CACHEABLE_REFUSALS: Final = frozenset(
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
) - {Refusal.NO_AUTH_TOKEN.value}  # which is ours


class Outcome(NamedTuple):
    """The answer to a request, and what to report of it once it has left.

    A named tuple, because one is made for each request (see `Request`).

    Attributes:
        kind: of the route.
        answer: to send.
        started: when the request arrived, by `time.perf_counter`.
        validated, appended: when these phases ended; equal where nothing was appended.
        repeat, sid, sender, detail, cached, deferred: as of `events.Answered`.
        key: under which the answer is remembered; None for no memory, or it comes from there.
        problem: to be reported with it.
    """

    kind: Kind
    answer: Answer
    started: float
    validated: float
    appended: float
    repeat: bool = False
    sid: str = ""
    sender: str = ""
    detail: str = ""
    cached: str = ""
    deferred: bool = False
    key: bytes | None = None
    problem: Problem | None = None


class Validated(NamedTuple):
    """A webhook that is to be appended.

    A named tuple, because one is made for each request (see `Request`).

    Attributes:
        request: as it came.
        genuine: what to append.
        at: when it had been validated.
        key: as of `Outcome`.
    """

    request: Request
    genuine: Genuine
    at: float
    key: bytes | None


Judged = Outcome | Validated


class Reception:
    """Answers webhooks: 2xx only for what is stored, and for nothing that is not Twilio's.

    It does not send: a server calls `receive`, or what that consists of, sends the answer, and then
    calls `report`.

    Args:
        append: stores webhooks.
        settings: `auth_token`, `signature`, `account_sid`, `signature_timeout`,
            `on_signature_timeout`, `enqueue_timeout`, `slow_notice`, `slow_notice_after`,
            `public_url` and `allowed_hosts` are read, once.
        observer: is called with `Answered` once for each request.
        cache: remembers answers; None for no memory.
        credentials: has the tokens; None for those of the settings.
        defer: stores requests whose tokens can't be had in time; None for `append`.
    """

    def __init__(
        self,
        append: Append[Webhook],
        settings: Settings,
        observer: Observer,
        *,
        cache: ValidationCache | None = None,
        credentials: Credentials | None = None,
        defer: Append[Webhook] | None = None,
    ) -> None:
        self._append = append
        self._defer = defer or append
        self._observe = observer
        self._cache = cache
        self._validator = Validator(settings, credentials or Credentials(settings, None, observer))
        self._signature_deadline = Deadline(settings.signature_timeout)
        self._defers = settings.on_signature_timeout is TimeoutPolicy.DEFER
        self._append_deadline = Deadline(settings.enqueue_timeout)
        self._hosts = None if settings.public_url else allowed_hosts(settings)
        self._watch = StoreWatch(observer, "webhooks are answered 503")
        self._next_misdirected = 0.0

    async def receive(self, request: Request) -> Outcome:
        """Return the answer to a webhook: 2xx only if it is stored durably, now or before.

        Raises nothing but `asyncio.CancelledError`.
        """
        judged = self.judge(request)
        if not isinstance(judged, Judged):
            judged = await judged
        if isinstance(judged, Outcome):
            return judged
        new = True
        failure: Exception | None = None
        try:
            with self._append_deadline:
                new = await self._appending(judged.genuine.webhook)
        except Exception as error:  # noqa: BLE001 - see decide
            failure = error
        return self._outcome(judged, new, failure)

    def judge(self, request: Request) -> Judged | Coroutine[Any, Any, Judged]:
        """Return the answer to a webhook, or what to append. Raises nothing.

        Where that has to be waited for (tokens, Redis): what returns it when it is awaited.
        """
        cache, key = self._cache, None
        if cache is not None:
            key = request.fingerprint(cache.secret)
            entry = cache.get(key)
            if entry is not None:
                return _remembered(request, entry, "memory")
            asked = cache.ask(key)
            if asked is not None:
                return self._ask(request, key, asked)
        decided = self.decide(request)
        return (
            self._look_up(request, key) if decided is None else self._judged(request, decided, key)
        )

    def append(self, validated: Validated) -> "asyncio.Future[bool]":
        """Begin to append a webhook. Raises nothing.

        The future is cancelled after OFFHOOK_ENQUEUE_TIMEOUT. Once it is done, `appended` is due.
        """
        future: asyncio.Future[bool]
        try:
            future = asyncio.ensure_future(self._appending(validated.genuine.webhook))
        except Exception as error:  # noqa: BLE001 - see decide
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        self._append_deadline.watch(future)
        return future

    def appended(self, validated: Validated, future: "asyncio.Future[bool]") -> Outcome | None:
        """Return the answer to a webhook whose appending has ended; None if it was cancelled."""
        expired = self._append_deadline.expired(future)
        if future.cancelled():
            return self._outcome(validated, True, TimeoutError()) if expired else None
        error = future.exception()
        return self._outcome(validated, error is not None or future.result(), error)

    def decide(self, request: Request) -> Genuine | Rejection | None:
        """Return what to append, or why not; None if tokens have to be looked up.

        No I/O, and raises nothing.
        """
        try:
            return self._validator.at_once(request)
        except Exception as error:  # noqa: BLE001 - answered, whatever it is: Twilio then falls back
            return Rejection(Fault.INTERNAL_ERROR, self._unexpected(error))

    def report(self, outcome: Outcome) -> None:
        """Report an answer that has just left, and remember it."""
        left = perf_counter()
        if outcome.problem is not None:
            self._observe(outcome.problem)
        answer = outcome.answer
        self._observe(
            Answered(
                outcome.kind,
                answer.status,
                answer.error,
                outcome.repeat,
                outcome.sid,
                outcome.sender,
                outcome.validated - outcome.started,
                outcome.appended - outcome.validated,
                left - outcome.appended,
                outcome.detail,
                outcome.cached,
                outcome.deferred,
            )
        )
        if outcome.key is not None:
            self._remember(outcome.key, outcome)

    async def report_stray(self, request: Request, messages: str, status: str) -> None:
        """Report a request to no route, if Twilio has signed it. Raises nothing.

        Args:
            request: that was answered 404.
            messages: the URL at which messages are answered.
            status: the URL at which delivery statuses are.
        """
        try:
            with self._signature_deadline:
                genuine = await self._validator.is_signed(request)
        except (CredentialsUnavailable, TimeoutError):
            return
        except Exception as error:  # noqa: BLE001 - see decide
            self._unexpected(error)
            return
        if genuine:
            text = (
                f"Twilio called {request.base + request.path!a}, which is not a route: set "
                f"{ascii(messages)[1:-1]} for messages, {ascii(status)[1:-1]} for statuses"
            )
            self._observe(Problem(Topic.ASTRAY, text))

    async def _ask(
        self, request: Request, key: bytes, asked: Awaitable[ValidationCacheEntry | None]
    ) -> Judged:
        """Judge a request once other processes have said whether they remember it."""
        entry = await asked
        if entry is not None:
            return _remembered(request, entry, "redis")
        decided = self.decide(request)
        if decided is None:
            return await self._look_up(request, key)
        return self._judged(request, decided, key)

    async def _look_up(self, request: Request, key: bytes | None) -> Judged:
        """Judge a request whose tokens have to be looked up."""
        return self._judged(request, await self._verify(request), key)

    async def _verify(self, request: Request) -> Genuine | Rejection:
        """Validate a request whose tokens have to be looked up; defer it if they can't be."""
        try:
            with self._signature_deadline:
                return await self._validator.verify(request)
        except (CredentialsUnavailable, TimeoutError) as error:
            detail = str(error) or "@app.credentials did not answer in OFFHOOK_SIGNATURE_TIMEOUT"
        except Exception as error:  # noqa: BLE001 - see decide
            return Rejection(Fault.INTERNAL_ERROR, self._unexpected(error))
        if self._defers:
            return _deferred(Deferred(request, self._validator.claimed_account(request)))
        return Rejection(Fault.CREDENTIALS_UNAVAILABLE, detail)

    def _judged(self, request: Request, decided: Genuine | Rejection, key: bytes | None) -> Judged:
        if self._hosts is not None and isinstance(decided, Genuine):
            host = request.host
            if host not in self._hosts:
                decided = _of_another_host(request, host)
        now = perf_counter()
        if isinstance(decided, Genuine):
            return Validated(request, decided, now, key)
        answer, (_, detail, sid, sender) = REFUSED[decided.reason], decided
        return Outcome(
            request.kind, answer, request.started, now, now,
            sid=sid, sender=sender, detail=detail, key=key,
        )  # fmt: skip

    def _appending(self, webhook: Webhook) -> Awaitable[bool]:
        append = self._defer if webhook.kind is Kind.DEFERRED else self._append
        return append(webhook)

    def _outcome(self, validated: Validated, new: bool, failure: BaseException | None) -> Outcome:
        """Return the outcome of an appending that has ended.

        Args:
            validated: what was to be appended.
            new: whether it was not known yet.
            failure: why it was not appended; None if it was.
        """
        request, (webhook, sid, sender), at, key = validated
        kind, detail = request.kind, ""
        match failure:
            case None:
                self._watch.back()
                answer = STORED[kind]
            case StoreUnavailable():
                self._watch.away(failure)
                answer, detail = REFUSED[Fault.STORE_UNAVAILABLE], str(failure)
            case BacklogFull():
                answer, detail = REFUSED[Fault.BACKLOG_FULL], str(failure)
            case TimeoutError():
                answer = REFUSED[Fault.STORE_TIMEOUT]
            case _:
                answer, detail = REFUSED[Fault.INTERNAL_ERROR], self._unexpected(failure)
        problem = None if webhook.kind is kind else self._misdirected(request, webhook.kind)
        return Outcome(
            kind,
            answer,
            request.started,
            at,
            perf_counter(),
            not new,
            sid,
            sender,
            detail,
            "",
            webhook.kind is Kind.DEFERRED and not answer.error,
            key,
            problem,
        )

    def _misdirected(self, request: Request, kind: Kind) -> Problem | None:
        """Return what to report of a status callback to the URL of messages, once a second."""
        if kind is not Kind.STATUS or request.started < self._next_misdirected:
            return None
        self._next_misdirected = request.started + DIAGNOSIS_INTERVAL
        right = request.base + request.path.removesuffix(MESSAGES_PATH) + STATUS_PATH
        text = (
            f"status callbacks arrive at {request.path!a}, which is for messages; they are "
            f"recorded, but set {right!a} as the StatusCallback of what you send, or as the "
            "Messaging Service's Delivery Status Callback"
        )
        return Problem(Topic.STATUS_AT_MESSAGES, text)

    def _remember(self, key: bytes, outcome: Outcome) -> None:
        """Remember an answer that a repeat of the request will get again."""
        cache, answer = self._cache, outcome.answer
        if cache is None:
            return
        if not answer.error:
            if not outcome.deferred:  # whether it is genuine is not known yet
                entry = ValidationCacheEntry(
                    CachedVerdict.VALID, answer, time.time(), outcome.sid, outcome.sender
                )
                cache.put(key, entry, repeat=outcome.repeat)
        elif answer.error in _CACHEABLE_REFUSALS:
            cache.put(key, ValidationCacheEntry(CachedVerdict.REFUSED, answer, time.time()))

    def _unexpected(self, error: BaseException) -> str:
        """Report a mistake of ours; return its type and place, not its text, which may quote."""
        frames = extract_tb(error.__traceback__)  # none of an error that was not raised here
        where = (
            f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "the store"
        )
        text = f"{type(error).__name__} at {where} while answering a webhook"
        self._observe(Problem(Topic.INTERNAL_ERROR, text))
        return text


def refused(kind: Kind, answer: Answer, started: float) -> Outcome:
    """Return the outcome of a request that was not read, or not to its end."""
    now = perf_counter()
    return Outcome(kind, answer, started, now, now)


def _deferred(deferred: Deferred) -> Genuine:
    """Return what to append of a request that can't be verified yet, with what it claims to be."""
    webhook = Webhook(Kind.DEFERRED, deferred.form)
    claimed = Inbound.of(webhook)
    return Genuine(webhook, claimed.sid, claimed.sender)


def _of_another_host(request: Request, host: str | None) -> Rejection:
    """Return why not to take a webhook that was called by another host's name.

    Its signature fits: all bots of an account have the same token.
    """
    detail = (
        f"the URL that was called is {request.base + request.path!a}, whose host is not "
        f"allowed: set OFFHOOK_PUBLIC_URL={ascii(request.base)[1:-1]}, or add "
        f"{ascii(host)[1:-1]} to OFFHOOK_ALLOWED_HOSTS"
    )
    return Rejection(Fault.HOST_NOT_ALLOWED, detail)


def _remembered(request: Request, entry: ValidationCacheEntry, cached: str) -> Outcome:
    now = perf_counter()
    return Outcome(
        request.kind,
        entry.answer,
        request.started,
        now,
        now,
        entry.verdict is CachedVerdict.VALID,
        entry.message_sid,
        entry.sender,
        cached=cached,
    )
