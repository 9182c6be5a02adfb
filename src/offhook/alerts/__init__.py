"""Alerts: what an operator must be told, from looking at the machine again and again."""

from offhook.alerts.evaluation import Alert, Change, Stage, Standing, advance
from offhook.alerts.rules import RULES, Level, Rule
from offhook.alerts.watcher import AlertWatch, to_log

__all__ = [
    "RULES",
    "Alert",
    "AlertWatch",
    "Change",
    "Level",
    "Rule",
    "Stage",
    "Standing",
    "advance",
    "to_log",
]
