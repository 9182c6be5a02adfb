"""The overview: system status, issues that need attention, and charts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from offhook.admin.charts import Chart, amounts, durations
from offhook.admin.figures import Figures
from offhook.admin.samples import KEPT, Bin, Sample, Sampler
from offhook.alerts import Alert, Level
from offhook.clock import steady
from offhook.core.lifecycle import LIVE, SendState, State
from offhook.stores.api import Counts
from offhook.twilio.shortfalls import shortfalls
from offhook.web.design.formats import moment

BUDGETS: Final = {"validate": 0.1, "enqueue": 0.2, "total": 0.5}
"""Seconds: DESIGN, "one webhook's way"."""

_SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_RECENT: Final = 300.0  # seconds
_ABOUT: Final = 10.0  # seconds by which a period may be shorter than its name

# Alerts whose issues are found without them, and sooner.
_KNOWN_AT_ONCE: Final = frozenset(
    {
        "dead-letters", "people-unanswered", "replies-refused", "replies-undelivered",
        "store-unavailable",
    }
)  # fmt: skip
_LINKS: Final = {
    "backlog-age": "messages?state=open",
    "handler-errors": "messages?state=waiting",
    "loop-suspected": "messages?state=parked",
    "replies-pending": "sends?state=pending",
    "unknown-sends": "sends?state=unknown",
}
_BRIEF: Final = 10.0  # seconds for which a reply may wait: most 429s of Twilio's are over by then
_REASONS: Final = 4  # shown of those for which replies reached nobody


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue that needs attention.

    Attributes:
        tone: `warn` or `bad`.
        text: a sentence.
        advice: how to fix it.
        link: of the page with the affected messages or replies, below the dashboard's; None if
            there is none.
    """

    tone: str
    text: str
    advice: str
    link: str | None = None


def overview(
    sampler: Sampler, alerts: Sequence[Alert], *, parked_retention: float
) -> dict[str, Any]:
    """Return the values of the overview's templates."""
    sample = sampler.samples[-1] if sampler.samples else None
    recent = sampler.recent(_RECENT)
    bins = sampler.bins()
    return {
        "sample": sample,
        "recent": recent,
        "within": stretch(sampler, _RECENT, "in the last five minutes"),
        "hour": sampler.recent(KEPT),
        "lately": stretch(sampler, KEPT, "in the last half hour"),
        "issues": list(issues(sample, alerts, parked_retention=parked_retention)),
        "live": backlog(sample.counts) if sample and sample.counts else 0,
        "unsent": sample.counts.unsent if sample and sample.counts else 0,
        "quantiles": quantiles(recent),
        "budgets": BUDGETS,
        "charts": charts(bins),
    }


def stretch(sampler: Sampler, seconds: float, words: str) -> str:
    """Return the period of a figure in words: shorter than `seconds` soon after the start."""
    if not sampler.samples or steady() - sampler.samples[0].at >= seconds - _ABOUT:
        return words
    return Markup("since {}").format(moment(sampler.samples[0].at, "clock"))


def backlog(counts: Counts) -> int:
    """Return the number of unsettled messages."""
    return sum(counts.messages.get(state, 0) for state in LIVE)


def quantiles(figures: Figures | None) -> dict[str, float | None]:
    """Return quantiles of the response time."""
    total = figures.phases["total"] if figures else None
    return {name: total.quantile(share) if total else None for name, share in _SHARES.items()}


def charts(bins: list[Bin]) -> dict[str, Chart]:
    """Return the charts by name."""
    ends = [one.end for one in bins]
    made = {
        phase: durations(
            {
                name: [
                    one.figures.phases[phase].quantile(share) if one.figures else None
                    for one in bins
                ]
                for name, share in _SHARES.items()
            },
            ends,
            limit,
        )
        for phase, limit in BUDGETS.items()
    }
    counts = [one.last.counts if one.last else None for one in bins]
    made["flow"] = amounts(
        {
            "received": [found.received if found else None for found in counts],
            "settled": [found.settled if found else None for found in counts],
        },
        ends,
    )
    made["backlog"] = amounts(
        {
            "waiting": [backlog(found) if found else None for found in counts],
            "oldest, seconds": [(found.oldest or 0.0) if found else None for found in counts],
        },
        ends,
    )
    return made


def issues(
    sample: Sample | None, alerts: Sequence[Alert], *, parked_retention: float
) -> Iterator[Issue]:
    """Yield issues that need attention, the worst first.

    Args:
        sample: the latest sample.
        alerts: the raised alerts.
        parked_retention: days.
    """
    if sample is not None:
        told = _told(sample)
        others = (alert for alert in alerts if alert.name not in told)
        found = [*_at_once(sample, parked_retention), *map(_alerted, others)]
        yield from sorted(found, key=lambda issue: issue.tone != "bad")


def _at_once(sample: Sample, parked_retention: float) -> Iterator[Issue]:
    """Yield issues found in one sample; their alerts are raised later."""
    if sample.counts is None:
        text = "No messages are handled until it is available again. See the log for the reason."
        yield Issue("bad", "The store cannot be read.", text)
        return
    if dead := sample.counts.messages.get(State.DEAD, 0):
        text = f"{_many(dead, 'message')} could not be handled."
        advice = "Read the error, fix its cause, then replay."
        yield Issue("bad", text, advice, "messages?state=dead")
    yield from _undelivered(sample.counts)
    if parked := sample.counts.messages.get(State.PARKED, 0):
        text = f"{_many(parked, 'message')} parked."
        link = "messages?state=parked&kind=all"
        advice = f"Replay or discard them; they are deleted after {parked_retention:g} days."
        yield Issue("warn", text, advice, link)


def _undelivered(counts: Counts) -> Iterator[Issue]:
    """Yield the reasons for which replies reached nobody, the first with the people concerned."""
    reasons = shortfalls(counts)
    if (counts.oldest_send or 0.0) < _BRIEF:
        reasons = [one for one in reasons if one.state is not SendState.PENDING]
    for place, one in enumerate(reasons[:_REASONS]):
        link = f"sends?state={one.state}&code={one.code}"
        if place or not counts.unanswered:
            yield Issue("warn", f"{one.text}.", one.meaning, link)
        else:
            text = f"{_people(counts.unanswered)} got no reply. {one.text}."
            yield Issue("bad", text, one.meaning, link)


def _told(sample: Sample) -> frozenset[str]:
    """Return the alerts that say no more than what was found in the sample."""
    if sample.counts is None:
        return _KNOWN_AT_ONCE
    waiting = any(one.state is SendState.PENDING for one in shortfalls(sample.counts))
    return _KNOWN_AT_ONCE | ({"replies-pending"} if waiting else set())


def _alerted(alert: Alert) -> Issue:
    words = f"{alert.text[:1].upper()}{alert.text[1:]}"
    text = Markup("{}, since {}.").format(words, moment(alert.since))
    tone = "bad" if alert.level is Level.CRITICAL else "warn"
    return Issue(tone, text, alert.remedy, _LINKS.get(alert.name))


def _people(number: int) -> str:
    return "1 person has" if number == 1 else f"{number:,} people have"


def _many(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"
