"""Looks at a machine again and again, and tells what an operator should know."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from offhook.alerts.evaluation import Alert, Change, Stage, Standing, advance
from offhook.alerts.rules import RULES, Level, Rule
from offhook.alerts.window import Window
from offhook.concurrency import wait_for_event
from offhook.events import Observer, Problem, Topic
from offhook.observe.system import Survey

INTERVAL: Final = 5.0
"""Seconds between two looks."""

WINDOW: Final = 60.0
"""Seconds over which rates and quantiles are taken."""

Tell = Callable[[Change], None]
"""Must be quick, and must not raise."""


class AlertWatch:
    """Keeps the rules' standings.

    Args:
        look: looks at the machine; raises nothing.
        tell: are told of each change.
        rules: what is looked for.
        interval: seconds between two looks.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Survey]],
        tell: Iterable[Tell],
        *,
        rules: Sequence[Rule] = RULES,
        interval: float = INTERVAL,
    ) -> None:
        self._look = look
        self._tell = tuple(tell)
        self._rules = rules
        self._interval = interval
        self._surveys: deque[Survey] = deque()
        self._standings = {rule.name: Standing() for rule in rules}

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """What is raised now, the worst first."""
        raised = [s.alert for s in self._standings.values() if s.alert is not None]
        return tuple(sorted(raised, key=lambda alert: (alert.level is Level.WARNING, alert.since)))

    @property
    def surveys(self) -> tuple[Survey, ...]:
        """The last minute's, the earliest first."""
        return tuple(self._surveys)

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set."""
        while not stop.is_set():
            self.consider(await self._look())
            await wait_for_event(stop, self._interval)

    def consider(self, survey: Survey) -> None:
        """Take a look into account."""
        while self._surveys and self._surveys[0].at < survey.at - WINDOW:
            self._surveys.popleft()
        self._surveys.append(survey)
        window = Window(self._surveys[0], survey)
        for rule in self._rules:
            standing = self._standings[rule.name]
            self._standings[rule.name], change = advance(
                rule, standing, rule.read(window), survey.at
            )
            if change is not None:
                for tell in self._tell:
                    tell(change)


def to_log(observer: Observer) -> Tell:
    """Return what tells changes to the log."""

    def tell(change: Change) -> None:
        alert = change.alert
        if change.stage is Stage.CLEARED:
            observer(Problem(Topic.ALERT, f"{alert.name} is over", resolved=True))
        else:
            text = f"{alert.name} ({alert.level}): {alert.text}. {alert.remedy}"
            observer(Problem(Topic.ALERT, text))

    return tell
