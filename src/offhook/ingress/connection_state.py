"""What a connection goes through: one table, which alone decides on its states."""

from collections.abc import Mapping
from enum import IntEnum, auto
from types import MappingProxyType
from typing import Final


class State(IntEnum):
    """What comes next on a connection."""

    IDLE = auto()  # a request, in its own time
    HEAD = auto()  # the rest of a head; earlier requests may wait for their answers
    BODY = auto()  # the rest of a body
    DRAINING = auto()  # the rest of a body whose request has been answered
    WAITING = auto()  # the answer to the last request
    LINGERING = auto()  # nothing: what is no request, or exceeds a limit, is refused
    CLOSED = auto()


class Event(IntEnum):
    """What happens on a connection."""

    BEGIN = auto()  # the first byte of a request
    HEADERS = auto()  # the end of its head
    END = auto()  # the end of its body
    ANSWER = auto()  # all requests whose heads are complete have been answered
    REFUSE = auto()  # what came is refused
    LOSE = auto()  # the connection is lost


_S, _E = State, Event

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = MappingProxyType(
    {
        _S.IDLE: {_E.BEGIN: _S.HEAD, _E.REFUSE: _S.LINGERING, _E.LOSE: _S.CLOSED},
        _S.HEAD: {
            _E.HEADERS: _S.BODY,
            _E.ANSWER: _S.HEAD,
            _E.REFUSE: _S.LINGERING,
            _E.LOSE: _S.CLOSED,
        },
        _S.BODY: {
            _E.END: _S.WAITING,
            _E.ANSWER: _S.DRAINING,
            _E.REFUSE: _S.LINGERING,
            _E.LOSE: _S.CLOSED,
        },
        _S.DRAINING: {_E.END: _S.IDLE, _E.LOSE: _S.CLOSED},
        _S.WAITING: {
            _E.BEGIN: _S.HEAD,
            _E.ANSWER: _S.IDLE,
            _E.REFUSE: _S.LINGERING,
            _E.LOSE: _S.CLOSED,
        },
        _S.LINGERING: {_E.ANSWER: _S.LINGERING, _E.LOSE: _S.CLOSED},
        _S.CLOSED: {},
    }
)

BETWEEN: Final = frozenset({State.IDLE, State.WAITING})
"""The states in which bytes that begin no request are blank lines."""
