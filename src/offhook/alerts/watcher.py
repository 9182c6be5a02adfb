"""Evaluate the alert rules on a snapshot of the machine every five seconds."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from offhook.alerts.evaluation import Alert, AlertChange, RuleState, Transition, advance
from offhook.alerts.rules import RULES, Level, Rule
from offhook.alerts.window import Window
from offhook.concurrency import wait_for_event
from offhook.events import Observer, Problem, Topic
from offhook.observe.system import Snapshot

INTERVAL: Final = 5.0
"""Seconds between two evaluations."""

WINDOW: Final = 60.0
"""Seconds over which rates and quantiles are computed."""

Notify = Callable[[AlertChange], None]
"""Must be quick, and must not raise."""


class AlertWatcher:
    """Evaluates the rules and reports changes.

    Args:
        take_snapshot: reads the machine; must not raise.
        notify: called with each change.
        rules: the rules.
        interval: seconds between two evaluations.
    """

    def __init__(
        self,
        take_snapshot: Callable[[], Awaitable[Snapshot]],
        notify: Iterable[Notify],
        *,
        rules: Sequence[Rule] = RULES,
        interval: float = INTERVAL,
    ) -> None:
        self._take_snapshot = take_snapshot
        self._notify = tuple(notify)
        self._rules = rules
        self._interval = interval
        self._snapshots: deque[Snapshot] = deque()
        self._states = {rule.name: RuleState() for rule in rules}

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The raised alerts, the worst first."""
        raised = [s.alert for s in self._states.values() if s.alert is not None]
        return tuple(sorted(raised, key=lambda alert: (alert.level is Level.WARNING, alert.since)))

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The last minute's snapshots, oldest first."""
        return tuple(self._snapshots)

    async def run(self, stop: asyncio.Event) -> None:
        """Evaluate until `stop` is set."""
        while not stop.is_set():
            self.consider(await self._take_snapshot())
            await wait_for_event(stop, self._interval)

    def consider(self, snapshot: Snapshot) -> None:
        """Evaluate the rules on a snapshot."""
        while self._snapshots and self._snapshots[0].at < snapshot.at - WINDOW:
            self._snapshots.popleft()
        self._snapshots.append(snapshot)
        window = Window(self._snapshots[0], snapshot)
        for rule in self._rules:
            state = self._states[rule.name]
            self._states[rule.name], change = advance(rule, state, rule.read(window), snapshot.at)
            if change is not None:
                for notify in self._notify:
                    notify(change)


def to_log(observer: Observer) -> Notify:
    """Return a function that logs changes."""

    def notify(change: AlertChange) -> None:
        alert = change.alert
        if change.stage is Transition.CLEARED:
            observer(Problem(Topic.ALERT, f"{alert.name} cleared", resolved=True))
        else:
            text = f"{alert.name} ({alert.level}): {alert.text}. {alert.remedy}"
            observer(Problem(Topic.ALERT, text))

    return notify
