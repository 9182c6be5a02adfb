"""SQL kept in files beside the code that runs it.

The files in a store's `sql/` hold statements, and fragments of them, each below a line like
`-- name: claim`, as for sqlc and aiosql. Braces fill in what is defined elsewhere:

    {now}                          another fragment of the same store
    {advance(messages, _locked)}   one with parameters: -- name: advance(table, lanes, where=true)
    '{State.OPEN}'                 a state, a trigger, or a kind of webhook
    {sources(CLAIM)}               the states from which a trigger may happen, as SQL's list
    '{target(CLAIM)}'              the state to which it leads

So no list of states stands in SQL that could differ from `core.lifecycle`. Lines that are comments
are left out of the statements.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from importlib.resources import files
from typing import Final, NamedTuple

from offhook.core.keys import Kind
from offhook.core.lifecycle import (
    CRASHES_UNTIL_ALONE,
    CRASHES_UNTIL_DEAD,
    DELIVERED,
    LIVE,
    MAY_HAVE_LEFT,
    NOT_DELIVERED,
    SETTLED,
    SendState,
    SendTrigger,
    State,
    Trigger,
    send_sources,
    send_target,
    sources,
    target,
)
from offhook.core.loop_detection import COUNTED_REPLIES
from offhook.core.reasons import Cause, stored
from offhook.core.turns import LOOKED_THROUGH, SAID
from offhook.core.unknown_sends import FIRST_LOOK, LOOKED_FOR, NOT_WANTED, TEXT_NEEDED
from offhook.core.whatsapp_window import CLOSED, NEWEST, WINDOW
from offhook.stores.api import MOST_COUNTED
from offhook.stores.rows import SLOW_NOTICE, Stage

MESSAGES: Final = 0
SENDS: Final = 1
"""What the table of lanes calls its two queues."""

SETTLED_WELL: Final = SETTLED - {State.DEAD}

_HEADER: Final = re.compile(r"^-- name: (\w+)(?:\((.*)\))?$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][\w.]*)(?:\(([^{}]*)\))?\}")
_COMMA: Final = re.compile(r",\s*(?![^()]*\))")  # but for those in parentheses


def one_of(states: Iterable[StrEnum]) -> str:
    """Return the states as SQL's list, in the order of their definition."""
    chosen = set(states)
    kind = type(next(iter(chosen)))
    return "(" + ", ".join(f"'{state}'" for state in kind if state in chosen) + ")"


def _quoted(words: Iterable[str]) -> str:
    """Return words as SQL's list."""
    return "(" + ", ".join(f"'{word}'" for word in sorted(words)) + ")"


_WORDS: Final[Mapping[str, str]] = {
    **{
        f"{kind.__name__}.{one.name}": one.value
        for kind in (Kind, State, Trigger, SendState, SendTrigger)
        for one in kind
    },
    **{f"Stage.{stage.name}": str(stage.value) for stage in Stage},
    "LIVE": one_of(LIVE),
    "SETTLED": one_of(SETTLED),
    "SETTLED_WELL": one_of(SETTLED_WELL),
    "MAY_HAVE_LEFT": one_of(MAY_HAVE_LEFT),
    "DELIVERED": _quoted(DELIVERED),
    "NOT_DELIVERED": _quoted(NOT_DELIVERED),
    "WITHDRAWN": one_of(send_sources(SendTrigger.CANCEL) | send_sources(SendTrigger.DISMISS)),
    "NEVER_ARRIVED": one_of(send_sources(SendTrigger.DISMISS) | {send_target(SendTrigger.DISMISS)}),
    "may_be_unknown": one_of(send_sources(SendTrigger.LOSE) | {SendState.UNKNOWN}),
    "CRASHES_UNTIL_ALONE": str(CRASHES_UNTIL_ALONE),
    "CRASHES_UNTIL_DEAD": str(CRASHES_UNTIL_DEAD),
    "COUNTED_REPLIES": str(COUNTED_REPLIES),
    "MOST_COUNTED": str(MOST_COUNTED),
    "SLOW_NOTICE": SLOW_NOTICE,
    "FIRST_LOOK": f"{FIRST_LOOK:g}",
    "LOOKED_FOR": f"{LOOKED_FOR:g}",
    "NOT_WANTED": f"{NOT_WANTED}",
    "TEXT_NEEDED": f"{TEXT_NEEDED:g}",
    "LOOKED_THROUGH": str(LOOKED_THROUGH),
    "SAID": one_of(SAID),
    "is_message": f"kind = '{Kind.MESSAGE}'",
    "WINDOW": f"{WINDOW:g}",
    "WINDOW_CODES": _quoted(CLOSED),
    "NEWEST": f"{NEWEST}",
    "window_closed": stored(Cause.WINDOW_CLOSED()),
    "window_refused": stored(Cause.WINDOW_REFUSED("")),  # ends where the code is to stand
    "messages_queue": str(MESSAGES),
    "sends_queue": str(SENDS),
}
_FUNCTIONS: Final[Mapping[str, Callable[[str], str]]] = {
    "sources": lambda trigger: one_of(sources(Trigger[trigger])),
    "target": lambda trigger: target(Trigger[trigger]),
    "send_sources": lambda trigger: one_of(send_sources(SendTrigger[trigger])),
    "send_target": lambda trigger: send_target(SendTrigger[trigger]),
}


class _Fragment(NamedTuple):
    """A statement, or a part of one, and its parameters with their defaults."""

    text: str
    parameters: Mapping[str, str]

    def filled(self, arguments: str) -> str:
        values = dict(self.parameters)
        given = _COMMA.split(arguments) if arguments else []
        for name, argument in zip(self.parameters, given, strict=False):
            named, _, value = argument.partition("=")
            values.update({named: value} if named in values else {name: argument})
        text = self.text
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text


class SqlFiles:
    """A store's statements, by name.

    Args:
        package: whose `sql/` has the files.
        words: to be filled in in all of them.
    """

    def __init__(self, package: str, **words: str) -> None:
        self._words = {**_WORDS, **words}
        self._fragments: dict[str, _Fragment] = {}
        self._statements: dict[str, str] = {}
        for file in files(package).joinpath("sql").iterdir():
            if file.name.endswith(".sql"):  # not what an editor has left there
                self._fragments.update(_parsed(file.read_text(encoding="utf-8")))

    def __getitem__(self, name: str) -> str:
        """Return a statement. It is put together once."""
        if name not in self._statements:
            self._statements[name] = self.filled(name)
        return self._statements[name]

    def filled(self, name: str, **words: str) -> str:
        """Return a statement, with further words to fill in.

        Raises:
            KeyError: there is no such statement, or a name in braces is not known.
        """
        words = {**self._words, **words}
        text, found = self._fragments[name].text, 1
        while found:  # from the innermost braces outwards
            text, found = _PLACEHOLDER.subn(lambda match: self._meaning(match, words), text)
        return text

    def _meaning(self, match: re.Match[str], words: Mapping[str, str]) -> str:
        name, arguments = match.groups("")
        if name in words:
            return words[name]
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](arguments)
        return self._fragments[name].filled(arguments)


def _parsed(source: str) -> dict[str, _Fragment]:
    _, *parts = _HEADER.split(source)
    return {
        name: _Fragment(_COMMENT.sub("", text).strip(), _parameters(parameters or ""))
        for name, parameters, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def _parameters(header: str) -> dict[str, str]:
    pairs = (parameter.partition("=") for parameter in header.split(", ") if parameter)
    return {name: default for name, _, default in pairs}
