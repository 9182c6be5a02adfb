"""The metrics of `offhook.observe.metrics`, as Markdown."""

from offhook.observe.metrics import COUNTED, MEASURED, Metric


def counted() -> str:
    """Return the metrics that processes count."""
    return _table(COUNTED)


def measured() -> str:
    """Return the metrics that are looked up at a scrape."""
    return _table(MEASURED)


def buckets() -> str:
    """Return the buckets of the histograms."""
    rows = [
        f"| `{metric.name}` | {', '.join(f'{bound:g}' for bound in metric.buckets)} |"
        for metric in COUNTED
        if metric.buckets
    ]
    return "\n".join(["| histogram | buckets, in seconds |", "|---|---|", *rows])


def _table(metrics: tuple[Metric, ...]) -> str:
    rows = [
        f"| `{metric.name}` | {metric.type} | {_labels(metric)} | {metric.text} |"
        for metric in metrics
    ]
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows])


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)
