"""A dashboard for Grafana: who is answered, how fast, what piles up, what is away."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_PER: Final = "[$__rate_interval])"
_WIDTH: Final = 24  # Grafana's grid
_PHASES: Final = "offhook_webhook_phase_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart.

    Attributes:
        queries: from a legend to PromQL.
        unit: Grafana's name of it.
        text: what it is good for.
        budget: lines that should not be crossed.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    text: str = ""
    budget: tuple[float, ...] = ()


def _rate(metric: str, *by: str) -> str:
    rate = f"rate({metric}{_PER}"
    return f"sum by ({', '.join(by)}) ({rate})" if by else f"sum({rate})"


def _states(metric: str, states: str) -> str:
    return f'max by (state) ({metric}{{state=~"{states}"}})'


def _quantile(share: float, buckets: str, *by: str) -> str:
    return f"histogram_quantile({share}, {_rate(buckets, 'le', *by)})"


def _quantiles(buckets: str) -> dict[str, str]:
    return {f"p{share * 100:g}": _quantile(share, buckets) for share in (0.5, 0.95, 0.99)}


ROWS: Final = (
    (
        "Answers",
        Panel("Alerts", {"{{alert}} {{level}}": "max by (alert, level) (offhook_alert_active)"}),
        Panel(
            "Webhooks",
            {"{{kind}} {{result}}": _rate("offhook_webhooks_total", "kind", "result")},
            "reqps",
        ),
        Panel(
            "Acknowledge time",
            _quantiles(f'{_PHASES}{{phase="total"}}'),
            "s",
            "From a request's arrival to its answer. The budget is 0.5 s.",
            (0.5,),
        ),
        Panel(
            "Phases, p99",
            {"{{phase}}": _quantile(0.99, f'{_PHASES}{{phase!="total"}}', "phase")},
            "s",
            "The budgets are 0.1 s to validate and 0.2 s until it is stored.",
            (0.1, 0.2),
        ),
        Panel(
            "Refused, by error",
            {"{{error}}": _rate('offhook_webhooks_total{result="refused"}', "error")},
            "reqps",
        ),
        Panel(
            "Repeats",
            {
                "repeats": _rate('offhook_webhooks_total{result="repeated"}'),
                "repeats, when sorted": _rate('offhook_webhooks_sorted_total{result="repeated"}'),
                "from {{cached}}": _rate('offhook_webhooks_total{cached!=""}', "cached"),
            },
            "reqps",
        ),
    ),
    (
        "Work",
        Panel(
            "Waiting",
            {"{{state}}": 'max by (state) (offhook_store_messages{state=~"open|running|waiting"})'},
        ),
        Panel("Oldest", {"oldest": "max(offhook_store_oldest_seconds)"}, "s"),
        Panel(
            "Received and settled in a minute",
            {
                "received": "max(offhook_store_received_last_minute)",
                "settled": "max(offhook_store_settled_last_minute)",
            },
        ),
        Panel("Runs", {"{{trigger}}": _rate("offhook_handler_runs_total", "trigger")}, "ops"),
        Panel("Handler time", _quantiles("offhook_handler_seconds_bucket"), "s"),
        Panel("Time until the first run", _quantiles("offhook_handler_wait_seconds_bucket"), "s"),
    ),
    (
        "Replies, and what needs somebody",
        Panel(
            "Sends",
            {
                "{{what}} {{trigger}}": _rate("offhook_sends_total", "what", "trigger"),
                "unknown, looked up: {{finding}}": _rate(
                    "offhook_unknown_sends_looked_up_total", "finding"
                ),
            },
            "ops",
        ),
        Panel("Twilio's answer", _quantiles("offhook_send_seconds_bucket"), "s"),
        Panel(
            "Needs somebody",
            {
                "{{state}} messages": _states("offhook_store_messages", "dead|parked"),
                "{{state}} replies": _states("offhook_store_sends", "failed|undelivered|unknown"),
                "people unanswered": "max(offhook_store_unanswered_people)",
                "unknown for ten minutes": "max(offhook_store_unresolved_sends)",
            },
        ),
        Panel(
            "Deliveries, by status and code",
            {"{{status}} {{code}}": _rate("offhook_deliveries_total", "status", "code")},
            "ops",
            "What Twilio reports of replies that it has accepted.",
        ),
        Panel(
            "Replies that reached nobody, by code",
            {"{{state}} {{code}}": "max by (state, code) (offhook_store_undelivered_sends)"},
            text="Pending although they were tried, refused, or not delivered.",
        ),
        Panel("Oldest reply", {"oldest": "max(offhook_store_oldest_send_seconds)"}, "s"),
    ),
    (
        "Health",
        Panel(
            "Away",
            {
                "{{topic}}": "sum by (topic) (offhook_trouble_active)",
                "store": "1 - min(offhook_store_up)",
            },
        ),
        Panel("In spools", {"{{instance}}": "offhook_spool_messages"}),
        Panel("Problems", {"{{topic}}": _rate("offhook_troubles_total", "topic")}, "ops"),
        Panel("Processes", {"{{instance}} {{role}}": "offhook_processes"}),
        Panel(
            "CPU of processes",
            {"{{instance}} {{process}}": f"rate(offhook_process_cpu_seconds_total{_PER}"},
            "percentunit",
        ),
        Panel(
            "Memory of processes",
            {"{{instance}} {{process}}": "offhook_process_resident_memory_bytes"},
            "bytes",
        ),
        Panel(
            "Machines",
            {
                "{{instance}} CPU": (
                    "sum by (instance) (rate(offhook_host_cpu_seconds_total"
                    '{mode="busy"}[$__rate_interval])) / sum by (instance) '
                    "(rate(offhook_host_cpu_seconds_total[$__rate_interval]))"
                ),
                "{{instance}} memory": "offhook_host_memory_used_ratio",
                "{{instance}} disk of the {{what}}": "offhook_disk_used_ratio",
            },
            "percentunit",
            budget=(0.8,),
        ),
        Panel("Versions", {"{{version}}": "count by (version) (offhook_build_info)"}),
    ),
)


def text() -> str:
    """Return the file."""
    board = {
        "title": "offhook",
        "uid": "offhook",
        "tags": ["offhook"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "source",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": list(_panels()),
    }
    return json.dumps(board, indent=1) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, *panels in ROWS:
        number += 1
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
        }  # fmt: skip
        top += 1
        for place, panel in enumerate(panels):
            number += 1
            position = {"x": place % 3 * 8, "y": top + place // 3 * 8, "w": 8, "h": 8}
            yield _panel(panel, number, position)
        top += -(-len(panels) // 3) * 8


def _panel(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "transparent", "value": None}]
    steps += [{"color": "red", "value": bound} for bound in panel.budget]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": position,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"thresholdsStyle": {"mode": "line" if panel.budget else "off"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
            }
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }
