"""From events to the text that Prometheus reads."""

from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, SendTrigger, State, Trigger
from offhook.events import Answered, Event, Handled, Problem, Reported, Sent, Topic
from offhook.observe.exposition import exposition
from offhook.observe.metrics import METRICS, PHASES, MetricType
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.shared_counters import SharedCounters, totals
from offhook.observe.system import Snapshot
from offhook.stores.api import Counts

ANSWERED = Answered(Kind.MESSAGE, 200, "", False, "SM1", "+15551230001", 0.001, 0.004, 0.001)
HANDLED = Handled(1, Kind.MESSAGE, "SM1", 1, Trigger.COMPLETE, 0.25, 2.5)
SENT = Sent(1, 1, "return:0", SendTrigger.ACCEPT, 0.03)
COUNTS = Counts(dict.fromkeys(State, 2), dict.fromkeys(SendState, 3), 4.5, 6, 7)


class Samples:
    """A scrape after some events."""

    def __init__(
        self, *events: Event, counters: SharedCounters | None = None, counts: Counts = COUNTS
    ) -> None:
        counters = counters or SharedCounters.alone()
        observer = PrometheusObserver(counters)
        for event in events:
            observer(event)
        snapshot = Snapshot(0.0, totals([counters.memory]), (), counts)
        text, _ = exposition(snapshot, "1.2.3", "")
        self.text = text.decode()
        self._found = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(self.text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._found.get((name, frozenset(labels.items())))


def webhooks(kind: str = "message", **labels: str) -> dict[str, str]:
    return {"kind": kind, "code": "200", "result": "stored", "error": "", "cached": "", **labels}


@pytest.mark.parametrize(
    ("event", "labels"),
    [
        (ANSWERED, webhooks()),
        (ANSWERED._replace(repeat=True), webhooks(result="repeated")),
        (
            ANSWERED._replace(repeat=True, cached="redis"),
            webhooks(result="repeated", cached="redis"),
        ),
        (ANSWERED._replace(deferred=True), webhooks(result="deferred")),
        (
            ANSWERED._replace(status=403, error="signature-mismatch"),
            webhooks(code="403", result="refused", error="signature-mismatch"),
        ),
    ],
)  # fmt: skip
def test_answers_are_counted_by_what_they_were(event: Answered, labels: dict[str, str]) -> None:
    samples = Samples(event, event)
    assert samples("offhook_webhooks_total", **labels) == 2


def test_what_twilio_reports_is_counted_by_status_and_code() -> None:
    missed = Reported(1, "SM1", "undelivered", "63016")
    samples = Samples(missed, missed, Reported(2, "SM2", "delivered", ""))
    assert samples("offhook_deliveries_total", status="undelivered", code="63016") == 2
    assert samples("offhook_deliveries_total", status="delivered", code="") == 1
    assert samples("offhook_deliveries_total", status="failed", code="") == 0


def test_what_reached_nobody_is_told_by_few_codes() -> None:
    codes = {(SendState.FAILED, f"{21000 + number}"): 100 - number for number in range(40)}
    told = {**codes, (SendState.UNDELIVERED, "no code of Twilio's"): 1000}
    counts = replace(COUNTS, shortfalls=told, unanswered=7, oldest_send=2.5)
    samples = Samples(counts=counts)
    name = "offhook_store_undelivered_sends"
    assert samples(name, state="failed", code="21000") == 100
    assert samples(name, state="undelivered", code="other") == 1000
    assert samples(name, state="failed", code="21039") is None
    assert samples(name, state="failed", code="other") == sum(100 - n for n in range(29, 40))
    assert samples("offhook_store_unanswered_people") == 7
    assert samples("offhook_store_oldest_send_seconds") == 2.5


def test_each_phase_has_its_histogram_with_the_budgets_among_its_buckets() -> None:
    assert {0.1, 0.2, 0.5, 1.0, 3.0} <= set(PHASES.buckets)
    samples = Samples(ANSWERED, ANSWERED._replace(validate=0.15, enqueue=0.0))
    name = "offhook_webhook_phase_seconds"
    validate = {"phase": "validate", "outcome": "accepted"}
    assert samples(f"{name}_bucket", le="0.0005", **validate) == 0
    assert samples(f"{name}_bucket", le="0.001", **validate) == 1, "a bound is within its bucket"
    assert samples(f"{name}_bucket", le="0.1", **validate) == 1
    assert samples(f"{name}_bucket", le="0.2", **validate) == 2
    assert samples(f"{name}_bucket", le="+Inf", **validate) == 2
    assert samples(f"{name}_sum", **validate) == pytest.approx(0.151)
    assert samples(f"{name}_count", phase="total", outcome="accepted") == 2
    assert samples(f"{name}_sum", phase="total", outcome="accepted") == pytest.approx(0.157)
    # A repeat from the cache never reaches the store.
    assert samples(f"{name}_count", phase="enqueue", outcome="accepted") == 1


def test_what_took_longer_than_the_last_bucket_is_counted_all_the_same() -> None:
    samples = Samples(replace(HANDLED, took=1e6))
    assert samples("offhook_handler_seconds_bucket", kind="message", le="3600.0") == 0
    assert samples("offhook_handler_seconds_count", kind="message") == 1


def test_runs_and_how_long_they_waited() -> None:
    samples = Samples(HANDLED, replace(HANDLED, attempt=2, trigger=Trigger.GIVE_UP, waited=900.0))
    assert samples("offhook_handler_runs_total", kind="message", trigger="complete") == 1
    assert samples("offhook_handler_runs_total", kind="message", trigger="give-up") == 1
    assert samples("offhook_handler_seconds_count", kind="message") == 2
    assert samples("offhook_handler_wait_seconds_count", kind="message") == 1
    assert samples("offhook_handler_wait_seconds_sum", kind="message") == 0.25


@pytest.mark.parametrize(
    ("identity", "what"),
    [
        ("reply:3", "reply"),
        ("return:0.1", "return"),
        ("notice:slow", "notice"),
        ("key:of their own", "key"),
        ("key.1:of their own", "key"),
    ],
)
def test_sends_by_what_they_are_and_never_by_a_key_of_the_users(identity: str, what: str) -> None:
    samples = Samples(replace(SENT, identity=identity, trigger=SendTrigger.LOSE))
    assert samples("offhook_sends_total", what=what, trigger="lose") == 1
    assert samples("offhook_send_seconds_count") == 1
    assert "their own" not in samples.text


def test_a_problem_is_active_until_it_is_resolved() -> None:
    away = Problem(Topic.STORE_UNAVAILABLE, "it is away")
    assert Samples(away)("offhook_trouble_active", topic="store-unavailable") == 1
    samples = Samples(away, replace(away, resolved=True))
    assert samples("offhook_trouble_active", topic="store-unavailable") == 0
    assert samples("offhook_troubles_total", topic="store-unavailable") == 1
    # Nobody will ever say that this is over.
    lost = Samples(Problem(Topic.LEASE_LOST, "another run has it"))
    assert lost("offhook_troubles_total", topic="lease-lost") == 1
    assert lost("offhook_trouble_active", topic="lease-lost") is None


def test_a_successor_counts_on_but_has_no_problem_yet() -> None:
    counters = SharedCounters.alone()
    Samples(ANSWERED, Problem(Topic.BACKLOG_FULL, "too many"), counters=counters)
    samples = Samples(ANSWERED, counters=counters)
    assert samples("offhook_webhooks_total", **webhooks()) == 2
    assert samples("offhook_trouble_active", topic="backlog-full") == 0


def test_nothing_of_a_person_is_told() -> None:
    samples = Samples(ANSWERED, HANDLED, SENT)
    assert "+1555" not in samples.text
    assert "SM1" not in samples.text


def test_what_is_told_is_in_the_vocabulary_and_all_of_that_is_told() -> None:
    found = {family.name for family in parse(Samples(ANSWERED, HANDLED, SENT).text)}
    names = {
        metric.name.removesuffix("_total") if metric.type is MetricType.COUNTER else metric.name
        for metric in METRICS
    }
    assert found == names


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert metric.name.startswith("offhook_")
        assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER), metric.name
        assert metric.type is not MetricType.HISTOGRAM or metric.name.endswith("_seconds")
        assert bool(metric.buckets) == (metric.type is MetricType.HISTOGRAM)
        assert list(metric.buckets) == sorted(metric.buckets)
        assert metric.text.endswith(".")


def test_a_scraper_that_wants_open_metrics_gets_it() -> None:
    counters = SharedCounters.alone()
    PrometheusObserver(counters)(ANSWERED)
    snapshot = Snapshot(0.0, totals([counters.memory]), (), None)
    text, content_type = exposition(snapshot, "1", "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    parsed = open_metrics(text.decode())  # type: ignore[no-untyped-call]  # the library's own
    families = {family.name: family for family in parsed}
    assert [sample.value for sample in families["offhook_store_up"].samples] == [0]


@pytest.mark.parametrize("version", ["abc", "1.x", "", "\xb2"])
def test_whatever_is_asked_for_there_are_metrics(version: str) -> None:
    accept = f"application/openmetrics-text;version={version}"
    text, content_type = exposition(Snapshot(0.0, {}, (), COUNTS), "1.2.3", accept)
    assert b"offhook_build_info" in text
    assert content_type.isascii()
