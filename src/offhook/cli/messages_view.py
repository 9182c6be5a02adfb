"""Print stored messages. Texts and numbers are shown only with `reveal`."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from offhook.cli.tables import Column, address_column, fitted
from offhook.core.forms import parameters
from offhook.core.identity import user_id_of
from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.core.messages import Send, StatusUpdate
from offhook.core.reasons import as_template
from offhook.observe.redaction import brief, last_line, mask, mask_numbers, printable
from offhook.stores.api import Ahead, Attempt, History, Record
from offhook.terminal import ago, local_time, until, when
from offhook.twilio.error_codes import meaning_of

_STYLES = {
    State.DONE: "green",
    State.DEAD: "red",
    State.PARKED: "yellow",
    State.WAITING: "yellow",
    State.DISCARDED: "dim",
}
_HIDDEN = "(--reveal shows it)"
_DUE = {State.WAITING: "next attempt (at once with: offhook messages replay)"}
_SID: Final = 34


def record_object(record: Record, *, reveal: bool) -> dict[str, Any]:
    """Return a message as an object for scripts."""
    shown = {
        "id": record.id,
        "kind": record.kind,
        "state": record.state,
        "sid": record.sid,
        "from": _address(record.sender, reveal=reveal),
        "to": _address(record.recipient, reveal=reveal),
        "user_id": _user_id(record, reveal=reveal) or None,
        "attempts": record.attempts,
        "crashes": record.crashes,
        "received": when(record.received),
        "settled": when(record.settled),
        "due": when(record.due) if record.settled is None else None,
        "error": brief(record.error, reveal=reveal),
        "spooled": record.spooled,
        "reduced": record.reduced,
    }
    if record.kind is Kind.STATUS:
        update = _update(record)
        shown |= {"status": update.status, "error_code": update.error_code or None}
    return {**shown, "body": parameters(record.form).get("Body", "")} if reveal else shown


def history_object(history: History, state: Mapping[str, Any], *, reveal: bool) -> dict[str, Any]:
    """Return a message with attempts, replies and its conversation's state, for scripts."""
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
        "conversation_state": dict(state) if reveal else dict.fromkeys(state),
    }
    return {**shown, "parameters": parameters(history.record.form)} if reveal else shown


def records_table(records: list[Record], *, reveal: bool, width: int) -> Table:
    """Return messages as a table that fits in a width."""

    def cells(text: Callable[[Record], str]) -> list[Text]:
        return [Text(printable(text(record))) for record in records]

    columns = [
        Column("id", cells(lambda one: str(one.id)), right=True),
        Column("state", [Text(one.state, _STYLES.get(one.state, "")) for one in records]),
        Column("received", cells(lambda one: ago(one.received)), spare=2),
        address_column("from", cells(lambda one: _address(one.sender, reveal=reveal)), spare=1),
        address_column(
            "to", cells(lambda one: _address(one.recipient, reveal=reveal)), spare=4, extra=True
        ),
        Column("tries", cells(lambda one: str(one.attempts)), spare=3, extra=True, right=True),
        Column("sid", cells(lambda one: one.sid), spare=5, extra=True, most=_SID),
        Column("error", cells(lambda one: brief(one.error, reveal=reveal)), 12),
    ]
    if any(record.kind is Kind.STATUS for record in records):
        columns.insert(2, Column("status", cells(_reported)))
    if reveal and any(record.kind is Kind.MESSAGE for record in records):
        columns.insert(-1, Column("text", cells(_text), 12))
    return fitted(columns, width)


def print_history(
    screen: Console, history: History, state: Mapping[str, Any], *, reveal: bool
) -> None:
    """Print a message, its timeline, and the state of its conversation."""
    record = history.record
    screen.print(
        Text.assemble(
            (f"{record.kind} {record.id} ", "bold"), (record.state, _STYLES.get(record.state, ""))
        )
    )
    sender, recipient = (_address(one, reveal=reveal) for one in (record.sender, record.recipient))
    _field(screen, "sid", record.sid)
    _field(screen, "from, to", f"{sender}, {recipient}")
    if user_id := _user_id(record, reveal=reveal):
        _field(screen, "user id", user_id)
    if history.behind is not None:
        _field(screen, "waits", f"behind {ahead_in_words(history.behind)}")
    if record.kind is Kind.STATUS:
        _field(screen, "status", _explained(_update(record)))
    if record.spooled:
        _field(
            screen, "order", "it passed through a spool, and may be handled after later messages"
        )
    if record.reduced:
        _field(screen, "body", "not kept (OFFHOOK_KEEP_BODIES)")
    elif reveal:
        _field(screen, "body", parameters(record.form).get("Body", ""))
    _print_state(screen, state, reveal=reveal)
    screen.print()
    for moment, line, style in _timeline(history, reveal=reveal):
        screen.print(
            Text.assemble((f"{local_time(moment)}  ", "dim"), (line, style)), soft_wrap=True
        )
    for send in history.sends:
        screen.print(_send_line(send, reveal=reveal), soft_wrap=True)
    if reveal and "\n" in str(record.error):
        screen.print(f"\n{record.error}", markup=False, soft_wrap=True)


def _print_state(screen: Console, state: Mapping[str, Any], *, reveal: bool) -> None:
    if state:
        values = json.dumps(dict(state), ensure_ascii=False)
        _field(screen, "state", values if reveal else f"{', '.join(state)} {_HIDDEN}")


def ahead_in_words(ahead: Ahead) -> str:
    """Return the message ahead of another: `message 45: its next attempt is in 6 min`."""
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
    if attempt.started is None:  # an operator's decision, not a run
        return attempt.ended, f"{attempt.trigger} {error}".rstrip(), "yellow"
    ran = f" after {attempt.ended - attempt.started:.2f} s"
    hidden = f" {_HIDDEN}" if not reveal and error != printable(last_line(attempt.error)) else ""
    line = f"attempt {attempt.number}: {attempt.trigger}{ran}: {error}{hidden}"
    return attempt.ended, line, "yellow"


def _send_line(send: Send, *, reveal: bool) -> Text:
    status = send.delivery.status if send.delivery else ""
    delivery = f", {status}" if status and status != send.state else ""
    body = printable(send.body) if reveal else f"{len(send.body)} characters"
    body = as_template(send.content_sid, send.fallback_reason) or body
    error = printable(": ".join(filter(None, (send.error_code, _send_error(send, reveal=reveal)))))
    return Text.assemble(
        (f"{'send ' + str(send.id):<19}  ", "dim"),
        f"{send.identity} to {_address(send.to, reveal=reveal)}: {send.state}{delivery}  ",
        (body, "dim"),
        (f"  {error}" if error else "", "red"),
    )


def _send_object(send: Send, *, reveal: bool) -> dict[str, Any]:
    shown = {
        "id": send.id,
        "identity": send.identity,
        "state": send.state,
        "to": _address(send.to, reveal=reveal),
        "sid": send.sid,
        "delivery": send.delivery.status if send.delivery else None,
        "error_code": send.error_code or None,
        "error": _send_error(send, reveal=reveal),
        "template": send.content_sid or None,
        "fallback_reason": send.fallback_reason or None,
    }
    return {**shown, "body": send.body} if reveal else shown


def _send_error(send: Send, *, reveal: bool) -> str:
    """Return why a send was refused or not delivered."""
    error = send.error or (meaning_of(send.error_code) if send.error_code else "")
    return error if reveal else mask_numbers(error)


def _update(record: Record) -> StatusUpdate:
    return StatusUpdate.parse(parameters(record.form))


def _text(record: Record) -> str:
    """Return the text of a message on one line."""
    return " ".join(parameters(record.form).get("Body", "").split())


def _reported(record: Record) -> str:
    """Return a reported status: `undelivered 30003`; empty for a message."""
    update = _update(record)
    return f"{update.status} {update.error_code}".rstrip() if record.kind is Kind.STATUS else ""


def _explained(update: StatusUpdate) -> str:
    if not update.error_code:
        return update.status
    sentence = meaning_of(update.error_code)
    return f"{update.status}, {update.error_code}: {sentence}".rstrip(": ")


def _field(screen: Console, name: str, value: str) -> None:
    screen.print(Text.assemble((f"{name:<10}", "dim"), printable(value)), soft_wrap=True)


def _user_id(record: Record, *, reveal: bool) -> str:
    """Return the user id of the person who wrote a message; empty without one."""
    if record.kind is not Kind.MESSAGE:
        return ""
    return _address(user_id_of(parameters(record.form)), reveal=reveal)


def _address(address: str, *, reveal: bool) -> str:
    return printable(address if reveal else mask(address))
