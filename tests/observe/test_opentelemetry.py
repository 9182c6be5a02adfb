"""One message, one trace: its id is in the SID."""

import subprocess
import sys
from contextvars import copy_context
from dataclasses import replace
from hashlib import blake2b

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.events import Answered, Event, Handled, Problem, Sent, Started, Topic
from offhook.observe.opentelemetry import OpenTelemetryObserver, trace_id

SID = f"SM{'12ab' * 8}"
REPLY = f"SM{'34cd' * 8}"
ANSWERED = Answered(Kind.MESSAGE, 200, "", False, SID, "+15551230001", 0.001, 0.004, 0.001)
STARTED = Started(1, Kind.MESSAGE, SID, 1)
HANDLED = Handled(1, Kind.MESSAGE, SID, 1, Trigger.COMPLETE, 0.25, 2.5)
SENT = Sent(1, 1, "return:0", SendTrigger.ACCEPT, 0.03, REPLY, message_sid=SID)


class Process:
    """A process with a tracer of its own, as each has it."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._observe = OpenTelemetryObserver(self.provider, ratio=ratio)

    def tell(self, *events: Event) -> None:
        for event in events:
            self._observe(event)

    def spans(self, *events: Event) -> tuple[ReadableSpan, ...]:
        copy_context().run(self.tell, *events)
        return self._exporter.get_finished_spans()


def ids(spans: tuple[ReadableSpan, ...]) -> set[str]:
    return {f"{span.context.trace_id:032x}" for span in spans if span.context}


def test_spans_of_one_message_are_one_trace_whichever_processes_tell_them() -> None:
    ingress = Process().spans(ANSWERED)
    worker = Process().spans(STARTED, HANDLED)
    sender = Process().spans(SENT)
    spans = ingress + worker + sender
    assert [span.name for span in spans] == ["receive message", "handle message", "send"]
    assert ids(spans) == {SID[2:]}
    assert len({span.parent.span_id for span in spans if span.parent}) == 1
    assert len({span.context.span_id for span in spans if span.context}) == 3


def test_what_a_handler_traces_is_within_its_run() -> None:
    process = Process()

    def run() -> None:
        process.tell(STARTED)
        with process.provider.get_tracer("bot").start_as_current_span("ask the model"):
            pass
        process.tell(HANDLED)

    copy_context().run(run)
    asked, handled = process.spans()
    assert asked.parent is not None
    assert handled.context is not None
    assert asked.parent.span_id == handled.context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN, "no other task's"


def test_a_span_lasts_as_long_as_what_it_tells_of() -> None:
    (answered,) = Process().spans(ANSWERED)
    assert answered.start_time is not None
    assert answered.end_time is not None
    assert answered.end_time - answered.start_time >= 6_000_000


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([STARTED, replace(HANDLED, trigger=Trigger.RETRY, error="ValueError")], "ValueError"),
        ([STARTED, Problem(Topic.LEASE_LOST, "another run has it")], "lease-lost"),
        ([replace(SENT, trigger=SendTrigger.LOSE, sid="")], "lose"),
        ([ANSWERED._replace(status=503, error="store-unavailable")], "store-unavailable"),
    ],
)
def test_what_failed_is_marked(events: list[Event], reason: str) -> None:
    (span,) = Process().spans(*events)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == reason


def test_an_invented_sid_does_not_enter_a_message_s_trace() -> None:
    forged = ANSWERED._replace(status=403, error="signature-mismatch")
    (span,) = Process().spans(forged)
    assert ids((span,)) != {SID[2:]}
    assert span.parent is None


def test_a_reply_is_linked_to_the_trace_of_its_statuses() -> None:
    (sent,) = Process().spans(SENT)
    (status,) = Process().spans(ANSWERED._replace(kind=Kind.STATUS, status=204, sid=REPLY))
    assert status.context is not None
    assert [link.context.trace_id for link in sent.links] == [status.context.trace_id]


def test_no_number_and_no_text_of_a_person_is_told() -> None:
    refused = ANSWERED._replace(status=403, error="signature-mismatch", detail="+15551230001")
    failed = replace(HANDLED, trigger=Trigger.GIVE_UP, error="ValueError", traceback="secret")
    keyed = replace(SENT, identity="key:of +15551230001", error="to +15551230001")
    told = " ".join(
        span.to_json() for span in Process().spans(ANSWERED, refused, STARTED, failed, keyed)
    )
    assert "5551230001" not in told
    assert "secret" not in told


def test_all_processes_choose_the_same_messages() -> None:
    sids = [f"SM{blake2b(bytes([number]), digest_size=16).hexdigest()}" for number in range(200)]
    first, second = Process(ratio=0.5), Process(ratio=0.5)
    answered = ids(first.spans(*(ANSWERED._replace(sid=sid) for sid in sids)))
    sent = ids(second.spans(*(replace(SENT, message_sid=sid) for sid in sids)))
    assert answered == sent
    assert 60 < len(answered) < 140


@pytest.mark.parametrize("sid", ["", "SM", f"SM{'0' * 32}", f"SM{'G' * 32}", "x" * 500])
def test_any_sid_has_a_trace(sid: str) -> None:
    assert 0 < trace_id(sid) < 1 << 128
    assert ids(Process().spans(ANSWERED._replace(sid=sid))) == {f"{trace_id(sid):032x}"}


def test_who_has_not_installed_it_is_told_how() -> None:
    script = "import sys; sys.modules['opentelemetry'] = None; import offhook.observe.opentelemetry"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert 'pip install "offhook[otel]"' in ended.stderr.splitlines()[-1]
