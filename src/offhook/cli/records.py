"""Stored messages as operators see them. What people wrote shows only when it is asked for."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from offhook.cli.output import local_time, until, when
from offhook.core.forms import parameters
from offhook.core.lifecycle import State
from offhook.core.messages import Send
from offhook.observe.masking import brief, last_line, mask, mask_numbers, printable
from offhook.ports import Ahead, Attempt, History, Record

_STYLES = {
    State.DONE: "green",
    State.DEAD: "red",
    State.PARKED: "yellow",
    State.WAITING: "yellow",
    State.DISCARDED: "dim",
}
_HIDDEN = "(--reveal shows it)"
_DUE = {State.WAITING: "next attempt (at once with: offhook messages replay)"}


def record_object(record: Record, *, reveal: bool) -> dict[str, Any]:
    """Return a message for scripts."""
    shown = {
        "id": record.id,
        "kind": record.kind,
        "state": record.state,
        "sid": record.sid,
        "from": _address(record.sender, reveal=reveal),
        "to": _address(record.recipient, reveal=reveal),
        "attempts": record.attempts,
        "crashes": record.crashes,
        "received": when(record.received),
        "settled": when(record.settled),
        "due": when(record.due) if record.settled is None else None,
        "error": brief(record.error, reveal=reveal),
        "spooled": record.spooled,
        "reduced": record.reduced,
    }
    return {**shown, "body": parameters(record.form).get("Body", "")} if reveal else shown


def history_object(history: History, *, reveal: bool) -> dict[str, Any]:
    """Return a message with all that happened to it, for scripts."""
    attempts = [
        {
            "number": attempt.number,
            "trigger": attempt.trigger,
            "started": when(attempt.started),
            "ended": when(attempt.ended),
            "error": str(attempt.error) if reveal else brief(attempt.error, reveal=False),
        }
        for attempt in history.attempts
    ]
    shown = {
        **record_object(history.record, reveal=reveal),
        "behind": _ahead_object(history.behind),
        "history": attempts,
        "sends": [_send_object(send, reveal=reveal) for send in history.sends],
    }
    return {**shown, "parameters": parameters(history.record.form)} if reveal else shown


def records_table(records: list[Record], *, reveal: bool) -> Table:
    """Return messages as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "state", "received", "from", "to", "tries", "sid", "error"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "id" else "left")
    if reveal:
        table.add_column("body")
    for record in records:
        cells = [
            Text(str(record.id)),
            Text(record.state, _STYLES.get(record.state, "")),
            Text(local_time(record.received)),
            Text(_address(record.sender, reveal=reveal)),
            Text(_address(record.recipient, reveal=reveal)),
            Text(str(record.attempts)),
            Text(printable(record.sid)),
            Text(brief(record.error, reveal=reveal)),
        ]
        body = [Text(printable(parameters(record.form).get("Body", "")))] if reveal else []
        table.add_row(*cells, *body)
    return table


def print_history(screen: Console, history: History, *, reveal: bool) -> None:
    """Print a message and its timeline."""
    record = history.record
    screen.print(
        Text.assemble(
            (f"{record.kind} {record.id} ", "bold"), (record.state, _STYLES.get(record.state, ""))
        )
    )
    sender, recipient = (_address(one, reveal=reveal) for one in (record.sender, record.recipient))
    _field(screen, "sid", record.sid)
    _field(screen, "from, to", f"{sender}, {recipient}")
    if history.behind is not None:
        _field(screen, "waits", f"behind {ahead_in_words(history.behind)}")
    if record.spooled:
        _field(screen, "order", "it came by way of a spool, and may be later than its successors")
    if record.reduced:
        _field(screen, "body", "not kept (OFFHOOK_KEEP_BODIES)")
    elif reveal:
        _field(screen, "body", parameters(record.form).get("Body", ""))
    screen.print()
    for moment, line, style in _timeline(history, reveal=reveal):
        screen.print(
            Text.assemble((f"{local_time(moment)}  ", "dim"), (line, style)), soft_wrap=True
        )
    for send in history.sends:
        screen.print(_send_line(send, reveal=reveal), soft_wrap=True)
    if reveal and "\n" in str(record.error):
        screen.print(f"\n{record.error}", markup=False, soft_wrap=True)


def ahead_in_words(ahead: Ahead) -> str:
    """Return what a message waits behind: `message 45: its next attempt is in 6 min`."""
    return f"message {ahead.id}: {ahead.in_words(until(ahead.due))}"


def _ahead_object(ahead: Ahead | None) -> dict[str, Any] | None:
    if ahead is None:
        return None
    return {"id": ahead.id, "state": ahead.state, "due": when(ahead.due)}


def _timeline(history: History, *, reveal: bool) -> list[tuple[float, str, str]]:
    record = history.record
    lines = [(record.received, "received and stored", "")]
    lines += [_attempt_line(attempt, reveal=reveal) for attempt in history.attempts]
    if record.settled is not None:
        runs = f"after {record.attempts} attempt{'' if record.attempts == 1 else 's'}"
        lines.append((record.settled, f"{record.state} {runs}", _STYLES.get(record.state, "")))
    elif record.due is not None:
        lines.append((record.due, _DUE.get(record.state, "due"), "yellow"))
    return sorted(lines, key=lambda line: line[0])


def _attempt_line(attempt: Attempt, *, reveal: bool) -> tuple[float, str, str]:
    error = brief(attempt.error, reveal=reveal)
    if attempt.started is None:  # no run, but a decision
        return attempt.ended, f"{attempt.trigger} {error}".rstrip(), "yellow"
    ran = f" after {attempt.ended - attempt.started:.2f} s"
    hidden = f" {_HIDDEN}" if not reveal and error != printable(last_line(attempt.error)) else ""
    line = f"attempt {attempt.number}: {attempt.trigger}{ran}: {error}{hidden}"
    return attempt.ended, line, "yellow"


def _send_line(send: Send, *, reveal: bool) -> Text:
    delivery = f", {send.delivery.status}" if send.delivery else ""
    body = printable(send.body) if reveal else f"{len(send.body)} characters"
    error = f"  {printable(_send_error(send, reveal=reveal))}" if send.error else ""
    return Text.assemble(
        (f"{'send ' + str(send.id):<19}  ", "dim"),
        f"{send.identity} to {_address(send.to, reveal=reveal)}: {send.state}{delivery}  ",
        (body + error, "dim"),
    )


def _send_object(send: Send, *, reveal: bool) -> dict[str, Any]:
    shown = {
        "id": send.id,
        "identity": send.identity,
        "state": send.state,
        "to": _address(send.to, reveal=reveal),
        "sid": send.sid,
        "delivery": send.delivery.status if send.delivery else None,
        "error": _send_error(send, reveal=reveal),
    }
    return {**shown, "body": send.body} if reveal else shown


def _send_error(send: Send, *, reveal: bool) -> str:
    return send.error if reveal else mask_numbers(send.error)


def _field(screen: Console, name: str, value: str) -> None:
    screen.print(Text.assemble((f"{name:<10}", "dim"), printable(value)), soft_wrap=True)


def _address(address: str, *, reveal: bool) -> str:
    return printable(address if reveal else mask(address))
