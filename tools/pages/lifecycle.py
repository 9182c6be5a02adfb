"""The two state tables of `offhook.core.lifecycle`, as Mermaid diagrams and as Markdown."""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from offhook.core import lifecycle
from offhook.core.lifecycle import SendState, SendTrigger, State, Trigger

Transitions = Iterable[tuple[StrEnum, StrEnum, StrEnum]]

# All arrows in one diagram cross each other.
_OPERATORS: Final = frozenset({Trigger.DROP, Trigger.REPLAY})
_OPERATORS_OF_SENDS: Final = frozenset(
    {SendTrigger.RETRY, SendTrigger.REPLACE, SendTrigger.DISMISS}
)


def message_diagram() -> str:
    """Return what becomes of a message by itself, as a diagram."""
    by_itself = [one for one in lifecycle.table() if one[1] not in _OPERATORS]
    return _diagram(by_itself, f"[*] --> {State.OPEN}")


def operator_diagram() -> str:
    """Return what operators do with messages, as a diagram."""
    return _diagram(one for one in lifecycle.table() if one[1] in _OPERATORS)


def message_table() -> str:
    """Return the life of a message as a table."""
    return _table(lifecycle.table())


def send_diagram() -> str:
    """Return what becomes of a send by itself, as a diagram."""
    by_itself = [one for one in lifecycle.send_table() if one[1] not in _OPERATORS_OF_SENDS]
    begin = (f"[*] --> {state}" for state in (SendState.PENDING, SendState.SCHEDULED))
    return _diagram(by_itself, *begin)


def send_operator_diagram() -> str:
    """Return what operators do with sends, as a diagram."""
    return _diagram(one for one in lifecycle.send_table() if one[1] in _OPERATORS_OF_SENDS)


def send_table() -> str:
    """Return the life of a send as a table."""
    return _table(lifecycle.send_table())


def _diagram(transitions: Transitions, *more: str) -> str:
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, trigger, target in transitions:
        arrows[source.value, target.value].append(trigger.value)
    lines = [f"    {a} --> {b}: {', '.join(triggers)}" for (a, b), triggers in arrows.items()]
    first = [f"    {line}" for line in more]
    return "\n".join(["```mermaid", "stateDiagram-v2", *first, *lines, "```"])


def _table(transitions: Transitions) -> str:
    sources: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, trigger, target in transitions:
        sources[trigger.value, target.value].append(f"`{source}`")
    rows = [f"| `{t}` | {', '.join(froms)} | `{to}` |" for (t, to), froms in sources.items()]
    return "\n".join(["| trigger | from | to |", "|---|---|---|", *rows])
