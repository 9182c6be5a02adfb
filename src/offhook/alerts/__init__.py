"""Alerts: rules evaluated every five seconds on figures of this machine and its store."""

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
