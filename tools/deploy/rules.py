"""The rules of `offhook.alerts` for a Prometheus: the same names, bounds, texts and remedies."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from offhook.alerts import RULES, Level, Rule
from offhook.alerts.rules import FAILURE_CODES, STORED_CODES


@dataclass(frozen=True, slots=True)
class Query:
    """What a rule looks at, in PromQL.

    Attributes:
        value: the number that is compared with the rule's bounds.
        among: what must be at least 20 for it to count; empty for no such condition.
    """

    value: str
    among: str = ""


def _share(part: str, whole: str) -> Query:
    return Query(
        f"sum by (job) (rate({part}[5m])) / sum by (job) (rate({whole}[5m]))",
        f"sum by (job) (increase({whole}[5m]))",
    )


def _troubled(topic: str) -> Query:
    return Query(f'sum by (job) (offhook_trouble_active{{topic="{topic}"}})')


_ACCEPTED: Final = '{phase="total",outcome="accepted"}'

# Machines that share a store tell the same of it: one of them counts.
QUERIES: Final[Mapping[str, Query]] = {
    "acknowledge-time": Query(
        "histogram_quantile(0.99, sum by (job, le) "
        f"(rate(offhook_webhook_phase_seconds_bucket{_ACCEPTED}[5m])))",
        f"sum by (job) (increase(offhook_webhook_phase_seconds_count{_ACCEPTED}[5m]))",
    ),
    "backlog-age": Query("max by (job) (offhook_store_oldest_seconds)"),
    "answer-errors": _share(
        f'offhook_webhooks_total{{code=~"{"|".join(FAILURE_CODES)}"}}',
        f'offhook_webhooks_total{{code=~"{"|".join((*STORED_CODES, *FAILURE_CODES))}"}}',
    ),
    "handler-errors": _share(
        'offhook_handler_runs_total{trigger=~"retry|give-up"}', "offhook_handler_runs_total"
    ),
    "store-unavailable": Query("1 - min by (job) (offhook_store_up)"),
    "store-broken": _troubled("store-broken"),
    "spool": Query("max by (job, instance) (offhook_spool_messages)"),
    "backlog-full": _troubled("backlog-full"),
    "cache-unavailable": _troubled("cache-unavailable"),
    "credentials-unavailable": _troubled("credentials-unavailable"),
    "dead-letters": Query('max by (job) (offhook_store_messages{state="dead"})'),
    "loop-suspected": Query(
        'sum by (job) (increase(offhook_troubles_total{topic="loop-suspected"}[5m]))'
    ),
    "replies-pending": Query("max by (job) (offhook_store_oldest_send_seconds)"),
    "replies-refused": Query('max by (job) (offhook_store_sends{state="failed"})'),
    "replies-undelivered": Query('max by (job) (offhook_store_sends{state="undelivered"})'),
    "people-unanswered": Query("max by (job) (offhook_store_unanswered_people)"),
    "unknown-sends": Query("max by (job) (offhook_store_unresolved_sends)"),
    "disk": Query("max by (job, instance) (offhook_disk_used_ratio)"),
    "cpu": Query(
        'sum by (job, instance) (rate(offhook_host_cpu_seconds_total{mode="busy"}[5m])) '
        "/ sum by (job, instance) (rate(offhook_host_cpu_seconds_total[5m]))"
    ),
    "memory": Query("max by (job, instance) (offhook_host_memory_used_ratio)"),
}

_ABSENT: Final = """\
      - alert: OffhookAbsent
        expr: absent(offhook_build_info)
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: "no offhook is scraped"
          description: "Look whether it runs, and whether OFFHOOK_ADMIN_BIND can be reached."
"""

_HEAD: Final = """\
# Made by `make docs` from offhook's own rules, which it also tells of by itself:
# docs/how-to/monitor.md
groups:
  - name: offhook
    rules:
"""


def text() -> str:
    """Return the file."""
    return _HEAD + _ABSENT + "".join(part for rule in RULES for part in _alerts(rule))


def alert_name(rule: Rule) -> str:
    """Return the name that Prometheus' users expect: `OffhookDeadLetters`."""
    return "Offhook" + "".join(word.capitalize() for word in rule.name.split("-"))


def _alerts(rule: Rule) -> Iterator[str]:
    bounds = {Level.WARNING: rule.warning, Level.CRITICAL: rule.critical}
    for level, bound in bounds.items():
        if bound is not None:
            yield _alert(rule, level, bound)


def _alert(rule: Rule, level: Level, bound: float) -> str:
    query = QUERIES[rule.name]
    expression = f"{query.value} > {bound:g}"
    if query.among:
        expression = f"({expression}) and {query.among} >= 20"
    # JSON's strings are YAML's too.
    return f"""\
      - alert: {alert_name(rule)}
        expr: {json.dumps(expression)}
        for: 1m
        labels:
          severity: {level}
        annotations:
          summary: {json.dumps(_summary(rule))}
          description: {json.dumps(rule.remedy)}
"""


def _summary(rule: Rule) -> str:
    shown = {"%": "humanizePercentage", "s": "humanizeDuration"}.get(rule.unit, "humanize")
    return rule.text.format(value=f"{{{{ $value | {shown} }}}}")
