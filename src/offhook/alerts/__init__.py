"""Alerts: what an operator must be told, from looking at the machine again and again."""

from offhook.alerts.evaluation import Alert, AlertChange, RuleState, Transition, advance
from offhook.alerts.rules import RULES, Level, Rule
from offhook.alerts.watcher import AlertWatcher, to_log

__all__ = [
    "RULES",
    "Alert",
    "AlertChange",
    "AlertWatcher",
    "Level",
    "Rule",
    "RuleState",
    "Transition",
    "advance",
    "to_log",
]
