"""Log events: as text on a terminal, as one JSON object per line elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, TextIO

from offhook.core.lifecycle import NOT_DELIVERED, SendTrigger, Trigger
from offhook.events import (
    Answered,
    Event,
    Handled,
    LookedUp,
    Problem,
    Reported,
    Sent,
    Sorted,
    Started,
)
from offhook.observe.redaction import (
    is_ours,
    json_line,
    mask,
    mask_numbers,
    outline,
    printable,
    printable_lines,
)

LINES_PER_SECOND: Final = 10
"""Lines per second of each limited kind. 100,000 forged requests a minute would be 25 MB."""

_SECOND: Final = 1.0


class RateLimit:
    """Admit `LINES_PER_SECOND` lines of each name, and count the suppressed ones.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}  # of a handful of names
        self._lines: dict[str, int] = {}

    def admit(self, name: str) -> int | None:
        """Return how many lines of this name were suppressed before; None to suppress this one."""
        now = self._clock()
        suppressed = 0
        if now - self._since.get(name, now) >= _SECOND:
            suppressed = max(0, self._lines[name] - LINES_PER_SECOND)
            self._lines[name] = 0
            self._since[name] = now
        self._since.setdefault(name, now)
        self._lines[name] = self._lines.get(name, 0) + 1
        return suppressed if self._lines[name] <= LINES_PER_SECOND else None


_FIELDS: Final = "offhook_fields"
_TRACEBACK: Final = "offhook_traceback"

# The current run, whose fields its handler's own log lines get too.
_run: ContextVar[Started | None] = ContextVar("offhook_run", default=None)

_HTTP_ERROR: Final = 500

# These log each request or start at INFO; ours does too, without URLs, which may hold users' text.
_QUIET: Final = ("uvicorn", "watchfiles")

# The log level of a run's end; INFO otherwise, as logging by the worker delays no response.
_RUNS: Final[Mapping[Trigger, int]] = {
    Trigger.GIVE_UP: logging.ERROR,
    Trigger.RETRY: logging.WARNING,
    Trigger.PARK: logging.WARNING,
}
_SENDS: Final[Mapping[SendTrigger, int]] = {
    SendTrigger.ACCEPT: logging.DEBUG,
    SendTrigger.REFUSE: logging.ERROR,
}
_OUTCOMES: Final[Mapping[SendTrigger, str]] = {
    SendTrigger.ACCEPT: "accepted by Twilio",
    SendTrigger.REFUSE: "refused by Twilio",
    SendTrigger.POSTPONE: "postponed",
    SendTrigger.LOSE: "sent, but Twilio's answer was lost: it is unknown whether it was accepted",
}
_LOOKED_UP: Final[Mapping[SendTrigger, int]] = {
    SendTrigger.CONFIRM: logging.INFO,
    SendTrigger.WITHDRAW: logging.INFO,
    SendTrigger.GIVE_UP: logging.ERROR,
}


class LogObserver:
    """Logs events, never a message's text, a signature or a token.

    Accepted webhooks are logged at DEBUG: a line for each would cost the hot path more than the
    response itself. Refused ones are limited to ten a second of each error, and so are runs that
    complete, unless the level is DEBUG: a line takes as long as the run. `untold` is the number of
    lines suppressed before.

    Args:
        logger: by default `offhook`.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("offhook")
        self._pace = RateLimit()

    def __call__(self, event: Event) -> None:
        """Log one event."""
        if isinstance(event, Started):
            _run.set(event)
        level = _level(event)
        if not self._logger.isEnabledFor(level):
            return
        name = self._limited(event)
        untold = self._pace.admit(name) if name else 0
        if untold is None:
            return
        fields = _fields(event) | ({"untold": untold} if untold else {})
        traceback = event.traceback if isinstance(event, Handled) else ""
        extra = {_FIELDS: fields, _TRACEBACK: traceback}
        _log(self._logger, level, _sentence(event), extra)

    def _limited(self, event: Event) -> str:
        """Return the name of the lines of which there may be too many; empty for no limit."""
        match event:
            case Answered():
                return event.error
            case Handled(trigger=Trigger.COMPLETE):
                return "" if self._logger.isEnabledFor(logging.DEBUG) else "handled"
            case _:
                return ""


def _log(logger: logging.Logger, level: int, text: str, extra: Mapping[str, object]) -> None:
    """Log a line, with its fields also where no log is configured, as under plain uvicorn.

    There, Python prints warnings without their fields and without the time.
    """
    if logger.hasHandlers():
        logger.log(level, "%s", text, extra=extra)
    elif level >= logging.WARNING:
        handler = logging.StreamHandler()
        handler.setFormatter(TextFormatter())
        handler.handle(logger.makeRecord(logger.name, level, "", 0, text, (), None, extra=extra))


def configure_logging(
    level: str, *, as_json: bool, tracebacks: bool = False, stream: TextIO | None = None
) -> None:
    """Set up the process' logging, for offhook's loggers and the user's.

    Args:
        level: debug, info, warning or error.
        as_json: log one JSON object per line.
        tracebacks: log handlers' tracebacks and the messages of unexpected errors. Both may quote
            users' text.
        stream: standard error by default.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(tracebacks) if as_json else TextFormatter(tracebacks))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class TextFormatter(logging.Formatter):
    """`12:03:04.512 WARNING sentence  name=value ...`."""

    def __init__(self, tracebacks: bool = False) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if one is logged."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = "".join(f" {k}={v}" for k, v in _fields_of(record).items())
        text = _text(record, self._tracebacks)
        line = f"{clock}.{int(record.msecs):03} {record.levelname:<7} {text}"
        parts = [f"{line} {fields}" if fields else line]
        parts += _traces(self, record, self._tracebacks)
        return printable_lines("\n".join(parts))


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "text": ..., ...}`."""

    def __init__(self, tracebacks: bool = False) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        shown: dict[str, Any] = {
            "time": f"{clock}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": _text(record, self._tracebacks),
        }
        shown |= _fields_of(record)
        if traces := _traces(self, record, self._tracebacks):
            shown["traceback"] = "\n".join(traces)
        return json_line(shown)


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of a line: its own, and those of the current run."""
    run = _run.get()
    return {**(_fields(run) if run is not None else {}), **getattr(record, _FIELDS, {})}


def _text(record: logging.LogRecord, with_words: bool) -> str:
    text = record.getMessage()
    # After the first line, asyncio's text quotes the error.
    return text.partition("\n")[0] if record.name == "asyncio" and not with_words else text


def _traces(
    formatter: logging.Formatter, record: logging.LogRecord, of_handlers: bool
) -> list[str]:
    traces = [getattr(record, _TRACEBACK, "")] if of_handlers else []
    if record.exc_info:
        error = record.exc_info[1]
        if of_handlers or error is None or not is_ours(record.name):
            traces.append(formatter.formatException(record.exc_info))
        else:
            traces.append(outline(error))
    return [trace.rstrip() for trace in traces if trace]


def _level(event: Event) -> int:  # noqa: PLR0911 - a table
    match event:
        case Answered(error="") | Sorted() | Started():
            return logging.DEBUG
        case Answered(status=status):
            return logging.ERROR if status >= _HTTP_ERROR else logging.WARNING
        case Reported(status=status):
            return logging.WARNING if status in NOT_DELIVERED else logging.DEBUG
        case Handled(trigger=trigger):
            return _RUNS.get(trigger, logging.INFO)
        case Sent(trigger=trigger):
            return _SENDS.get(trigger, logging.WARNING)
        case LookedUp(trigger=trigger):
            return logging.INFO if trigger is None else _LOOKED_UP.get(trigger, logging.WARNING)
        case Problem(resolved=resolved):
            return logging.INFO if resolved else logging.WARNING


def _sentence_of_answer(event: Answered) -> str:
    if event.error:
        detail = f": {printable(event.detail)}" if event.detail else ""
        return f"{event.kind} answered {event.status} {event.error}{detail}"
    stored = "deferred" if event.deferred else "stored"
    return f"{event.kind} {'repeated' if event.repeat else stored}"


def _sentence_of_send(event: Sent | LookedUp) -> str:
    if isinstance(event, LookedUp):
        return f"unknown send {mask_numbers(event.identity)} looked up: {event.finding}"
    what = "notice" if event.identity.startswith("notice:") else "reply"
    return f"{what} {_OUTCOMES.get(event.trigger, event.trigger)}{_retry(event)}"


def _retry(event: Sent) -> str:
    return f", next attempt in {event.retry_in:.3g} s" if event.retry_in else ""


def _sentence(event: Event) -> str:  # noqa: PLR0911 - a table
    match event:
        case Answered():
            return _sentence_of_answer(event)
        case Sorted():
            return "webhooks sorted into the store"
        case Started():
            return f"{event.kind} is handled"
        case Handled():
            return f"{event.kind} handled: {event.trigger}"
        case Sent() | LookedUp():
            return _sentence_of_send(event)
        case Reported():
            return f"a reply is {event.status}"
        case Problem():
            return f"{event.topic}: {printable(event.text)}"


def _fields(event: Event) -> dict[str, object]:
    match event:
        case Answered():
            found: dict[str, object] = {
                "sid": printable(event.sid),
                "from": printable(mask(event.sender)),
                "ms": _ms(event.total),
            }
        case Sorted():
            found = {
                "new": event.new,
                "repeated": event.repeated,
                "waited_ms": _ms(event.waited),
            }
        case Started():
            found = {
                "message": event.message_id,
                "sid": printable(event.sid),
                "attempt": event.attempt,
            }
        case Handled():
            found = {
                "message": event.message_id,
                "sid": printable(event.sid),
                "attempt": event.attempt,
                "waited_ms": _ms(event.waited),
                "ms": _ms(event.took),
                "error": printable(str(event.error)),
            }
        case Sent():
            found = {
                "send": event.send_id,
                "identity": printable(mask_numbers(event.identity)),
                "message": event.message_id,
                "sid": printable(event.message_sid),
                "sent_sid": event.sid,
                "fell_back": event.fell_back,
                "ms": _ms(event.took),
                "error": printable(mask_numbers(event.error)),
            }
        case Reported():
            found = {"message": event.message_id, "sid": printable(event.sid), "code": event.code}
        case LookedUp():
            found = {
                "send": event.send_id,
                "message": event.message_id,
                "sent_sid": event.sid,
                "trigger": event.trigger or "",
            }
        case Problem():
            found = {"resolved": True} if event.resolved else {}
    return {name: value for name, value in found.items() if value != ""}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
