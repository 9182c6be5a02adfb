"""What is in `deploy/` fits the metrics and the rules that there are."""

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from offhook.alerts import RULES
from offhook.observe.metrics import METRICS, Metric, MetricType
from tests.deploy.support import program
from tests.docs.pages import PAGES
from tools.deploy import DEPLOY, METRICS_FILES, made
from tools.deploy.rules import QUERIES, alert_name

RULES_FILE = DEPLOY / "prometheus" / "offhook.rules.yml"
UNIT_TESTS = DEPLOY / "prometheus" / "offhook.test.yml"
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "offhook.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def told(metric: Metric) -> set[str]:
    """Return the names that a metric has in a query."""
    if metric.type is MetricType.HISTOGRAM:
        return {f"{metric.name}{suffix}" for suffix in ("_bucket", "_sum", "_count")}
    return {metric.name}


NAMES = {name: metric for metric in METRICS for name in told(metric)}


def test_it_is_up_to_date() -> None:
    texts = made()
    assert {path: path.read_text() for path in texts} == texts, "run `make docs`"


@pytest.mark.parametrize("path", [*METRICS_FILES, UNIT_TESTS], ids=lambda path: path.name)
def test_it_asks_for_metrics_and_labels_that_there_are(path: Path) -> None:
    text = path.read_text().replace('\\"', '"')
    text = re.sub("description: .*", "", text)  # for people, who know what a histogram is made of
    used = set(re.findall(r"\boffhook_[a-z_]+\b", text))
    assert used <= NAMES.keys(), used - NAMES.keys()
    for name, chosen in re.findall(r"\b(offhook_[a-z_]+)\{([^}]*)\}", text):
        labels = set(re.findall(r"([a-z_]+)[=!]", chosen)) - {"job", "instance", "le"}
        assert labels <= set(NAMES[name].labels), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_tells_of_a_metric_that_is_not_there(page: Path) -> None:
    written = set(re.findall(r"\boffhook_[a-z_]+[a-z]\b", page.read_text()))
    known = NAMES.keys() | {metric.name for metric in METRICS}
    parts = {
        "offhook_store",
        "offhook_process",
        "offhook_host",
        "offhook_disk",
        "offhook_spool",
    }  # beginnings
    assert written <= known | parts, written - known


def test_each_rule_of_ours_is_one_of_prometheus() -> None:
    assert QUERIES.keys() == {rule.name for rule in RULES}
    text = RULES_FILE.read_text()
    for rule in RULES:
        bounds = [bound for bound in (rule.warning, rule.critical) if bound is not None]
        assert text.count(f"alert: {alert_name(rule)}\n") == len(bounds)


def test_each_rule_is_raised_in_a_unit_test() -> None:
    text = UNIT_TESTS.read_text()
    for name in re.findall(r"alert: (\w+)", RULES_FILE.read_text()):
        assert f'alertname="{name}"' in text, name


def test_prometheus_accepts_the_rules_and_they_do_what_they_should() -> None:
    promtool = program("promtool")
    for arguments in (("check", "rules", RULES_FILE), ("test", "rules", UNIT_TESTS)):
        ended = subprocess.run(
            [promtool, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "SUCCESS" in ended.stdout


def test_the_unit_tests_notice_a_bound_that_has_moved(tmp_path: Path) -> None:
    text = RULES_FILE.read_text()
    assert " > 0.8" in text
    (tmp_path / RULES_FILE.name).write_text(text.replace(" > 0.8", " > 0.99"))
    (tmp_path / UNIT_TESTS.name).write_text(UNIT_TESTS.read_text())
    ended = subprocess.run(
        [program("promtool"), "test", "rules", tmp_path / UNIT_TESTS.name],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "OffhookCpu" in ended.stdout + ended.stderr


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"\boffhook_[a-z_]+\b", " ".join(EXPRESSIONS)))
    for metric in METRICS:
        assert told(metric) & shown, metric.name


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations((panel["gridPos"] for panel in BOARD["panels"]), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart
        assert one["x"] + one["w"] <= 24
