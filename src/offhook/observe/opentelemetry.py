"""Record events as OpenTelemetry spans. Needs `pip install "offhook[otel]"`.

One message is one trace, across processes and days: the trace's id is the 32 hexadecimal digits of
the MessageSid. So no context has to be stored, and a SID is enough to find the trace
(docs/decisions/0010-metrics-across-processes.md).
"""

import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from hashlib import blake2b
from typing import Final

from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.events import Answered, Event, Handled, Problem, Sent, Started, Topic

try:
    from opentelemetry import context, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        Link,
        NonRecordingSpan,
        Span,
        SpanContext,
        SpanKind,
        StatusCode,
        TraceFlags,
        Tracer,
        TracerProvider,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('traces need OpenTelemetry: pip install "offhook[otel]"') from error

Attributes = Mapping[str, str | int | float | bool]

_WHOLE: Final = 1 << 64
_FAILED: Final = frozenset({Trigger.RETRY, Trigger.GIVE_UP, Trigger.BURY})
_UNSENT: Final = frozenset({SendTrigger.REFUSE, SendTrigger.LOSE, SendTrigger.POSTPONE})

_run: ContextVar[Span | None] = ContextVar("offhook_run_span", default=None)


class OpenTelemetryObserver:
    """Records each webhook, run and send as a span, without texts and phone numbers.

    A run's span is the current one in its handler, and the parent of the handler's own spans.

    Args:
        tracer_provider: by default the global one, looked up when a span begins.
        ratio: the share of messages to trace, from 0 to 1; the same ones in all processes.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, *, ratio: float = 1.0
    ) -> None:
        self._tracer: Tracer = trace.get_tracer("offhook", tracer_provider=tracer_provider)
        self._ratio = ratio

    def __call__(self, event: Event) -> None:
        """Record one event."""
        match event:
            case Answered():
                self._answered(event)
            case Started():
                self._started(event)
            case Handled():
                _handled(event)
            case Sent():
                self._sent(event)
            case Problem():
                _troubled(event)

    def _answered(self, event: Answered) -> None:
        # A refused request's SID may be forged, and must not enter a message's trace.
        parent = Context() if event.error else self._whole(event.sid)
        attributes: dict[str, str | int | float | bool] = {
            "messaging.operation.type": "receive",
            "http.response.status_code": event.status,
            "offhook.repeat": event.repeat,
            "offhook.deferred": event.deferred,
            "offhook.cached": event.cached,
            "offhook.validate_seconds": event.validate,
            "offhook.enqueue_seconds": event.enqueue,
            "offhook.acknowledge_seconds": event.acknowledge,
        }
        span = self._tracer.start_span(
            f"receive {event.kind}",
            parent,
            SpanKind.SERVER,
            {**_about(event.sid), **attributes},
            start_time=_ago(event.total),
        )
        if event.error:
            _fail(span, event.error)
        span.end()

    def _started(self, event: Started) -> None:
        span = self._tracer.start_span(
            f"handle {event.kind}",
            self._whole(event.sid),
            SpanKind.CONSUMER,
            {
                **_about(event.sid),
                "messaging.operation.type": "process",
                "offhook.message": event.message_id,
                "offhook.attempt": event.attempt,
            },
        )
        _run.set(span)
        context.attach(
            trace.set_span_in_context(span)
        )  # never detached: the context ends with its task

    def _sent(self, event: Sent) -> None:
        span = self._tracer.start_span(
            "send",
            # One that answers no message begins a trace: that of its own statuses, if it has a SID.
            self._whole(event.message_sid or event.sid or f"send {event.send_id}"),
            SpanKind.CLIENT,
            {
                **_about(event.message_sid),
                "messaging.operation.type": "send",
                "offhook.message": event.message_id,
                "offhook.send": event.send_id,
                "offhook.identity": re.split("[.:]", event.identity)[0],
                "offhook.trigger": event.trigger,
                "offhook.sent_sid": event.sid,
            },
            # Status callbacks have a trace of their own, with the SID of the reply.
            [Link(_context_of(event.sid, self._ratio))] if event.sid else [],
            start_time=_ago(event.took),
        )
        if event.trigger in _UNSENT:
            _fail(span, event.trigger)
        span.end()

    def _whole(self, sid: str) -> Context:
        """Return the parent context of all spans of a message."""
        parent = NonRecordingSpan(_context_of(sid, self._ratio))
        return trace.set_span_in_context(parent, Context())


def trace_id(sid: str) -> int:
    """Return the id of a message's trace: the number in its MessageSid."""
    digits = re.fullmatch("[A-Z]{2}([0-9a-f]{32})", sid)
    number = int.from_bytes(bytes.fromhex(digits[1])) if digits else 0
    return number or int.from_bytes(blake2b(sid.encode(), digest_size=16).digest())


def _context_of(sid: str, ratio: float) -> SpanContext:
    """Return the parent of all spans of a message: always the same, and never recorded."""
    number = trace_id(sid)
    # As in OpenTelemetry's TraceIdRatioBased, so that all processes choose the same messages.
    sampled = number % _WHOLE < ratio * _WHOLE
    digest = blake2b(b"offhook" + number.to_bytes(16), digest_size=8).digest()
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(number, int.from_bytes(digest) or 1, is_remote=True, trace_flags=flags)


def _handled(event: Handled) -> None:
    span = _run.get()
    if span is None:
        return
    span.set_attributes({"offhook.trigger": event.trigger, "offhook.waited_seconds": event.waited})
    if event.trigger in _FAILED:
        _fail(span, event.error if isinstance(event.error, str) else event.error.cause)
    span.end()


def _troubled(event: Problem) -> None:
    span = _run.get()
    if span is None:
        return
    span.add_event(event.topic)
    if event.topic is Topic.LEASE_LOST:
        _fail(span, event.topic)
        span.end()


def _about(sid: str) -> Attributes:
    return {"messaging.system": "twilio", "messaging.message.id": sid}


def _fail(span: Span, reason: str) -> None:
    # Types of exceptions and names of errors only: messages may quote users' text.
    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR)


def _ago(seconds: float) -> int:
    return time.time_ns() - int(seconds * 1e9)
