"""Print sends of the ledger. Texts and numbers are shown only with `reveal`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from offhook.cli.tables import Column, address_column, fitted
from offhook.core.lifecycle import SendState
from offhook.core.reasons import as_template
from offhook.observe.redaction import mask, mask_numbers, printable
from offhook.stores.api import SendRecord
from offhook.terminal import ago, local_time, until, when
from offhook.twilio.error_codes import meaning_of

_STYLES: Final[Mapping[SendState, str]] = {
    SendState.SENT: "green",
    SendState.SCHEDULED: "cyan",
    SendState.PENDING: "yellow",
    SendState.FAILED: "red",
    SendState.UNDELIVERED: "red",
    SendState.UNKNOWN: "yellow",
    SendState.REPLACED: "dim",
    SendState.CANCELED: "dim",
}


def send_object(record: SendRecord, *, reveal: bool) -> dict[str, Any]:
    """Return a send as an object for scripts."""
    shown = {
        "id": record.id,
        "message": record.message_id or None,
        "identity": _identity(record, reveal=reveal),
        "state": record.state,
        "account": record.account_sid,
        "from": _address(record.sender, reveal=reveal),
        "to": _address(record.to, reveal=reveal),
        "created": when(record.created),
        "settled": when(record.settled),
        "due": when(record.due) if record.settled is None else None,
        "tries": record.tries,
        "sid": record.sid,
        "delivery": record.delivery or None,
        "error_code": record.error_code or None,
        "error": _error(record, reveal=reveal),
        "template": record.content_sid or None,
        "fallback_reason": str(record.fell_back) or None,
    }
    return {**shown, "body": record.body} if reveal else shown


def sends_table(records: list[SendRecord], *, reveal: bool, width: int) -> Table:
    """Return sends as a table that fits in a width."""

    def cells(text: Callable[[SendRecord], str]) -> list[Text]:
        return [Text(printable(text(record))) for record in records]

    columns = [
        Column("id", cells(lambda one: str(one.id)), right=True),
        Column("state", [Text(one.state, _STYLES.get(one.state, "")) for one in records]),
        Column("written", cells(lambda one: ago(one.created)), spare=2),
        address_column("to", cells(lambda one: _address(one.to, reveal=reveal)), spare=1),
        address_column(
            "from", cells(lambda one: _address(one.sender, reveal=reveal)), spare=5, extra=True
        ),
        Column(
            "message", cells(lambda one: str(one.message_id or "")), spare=4, extra=True, right=True
        ),
        Column("tries", cells(lambda one: str(one.tries)), spare=3, extra=True, right=True),
        Column("delivery", cells(lambda one: one.delivery), spare=6, extra=True),
        Column("error", cells(lambda one: _explained(one, reveal=reveal)), 12),
    ]
    if any(record.state is SendState.SCHEDULED for record in records):
        columns.insert(3, Column("leaves", cells(_leaves_in)))
    if reveal:
        columns.insert(-1, Column("text", cells(lambda one: " ".join(one.body.split())), 12))
    return fitted(columns, width)


def print_send(screen: Console, record: SendRecord, *, reveal: bool) -> None:
    """Print a send."""
    screen.print(
        Text.assemble((f"send {record.id} ", "bold"), (record.state, _STYLES.get(record.state, "")))
    )
    fields = {
        "identity": _identity(record, reveal=reveal)
        + (f" of message {record.message_id}" if record.message_id else ""),
        "from, to": f"{_address(record.sender, reveal=reveal)}, "
        f"{_address(record.to, reveal=reveal)}",
        "written": local_time(record.created),
        "settled": local_time(record.settled) if record.settled is not None else "",
        "leaves": _leaves(record),
        "next try": until(record.due) if record.state is SendState.PENDING else "",
        "tries": str(record.tries),
        "sid": record.sid,
        "delivery": record.delivery,
        "code": record.error_code,
        "error": _error(record, reveal=reveal),
        "sent as": as_template(record.content_sid, record.fell_back),
        "body": record.body if reveal else "",
    }
    for name, value in fields.items():
        if value:
            screen.print(Text.assemble((f"{name:<10}", "dim"), printable(value)), soft_wrap=True)


def _identity(record: SendRecord, *, reveal: bool) -> str:
    return record.identity if reveal else mask_numbers(record.identity)  # a key may hold one


def _leaves(record: SendRecord) -> str:
    return local_time(record.due) if record.state is SendState.SCHEDULED else ""


def _leaves_in(record: SendRecord) -> str:
    return until(record.due) if record.state is SendState.SCHEDULED else ""


def _explained(record: SendRecord, *, reveal: bool) -> str:
    """Return why it was not sent or not delivered, or else why its fallback was."""
    return ": ".join(filter(None, (record.error_code, _error(record, reveal=reveal)))) or (
        as_template(record.content_sid, record.fell_back) if record.fell_back else ""
    )


def _error(record: SendRecord, *, reveal: bool) -> str:
    """Return why it was not sent or not delivered, and what to do."""
    error = str(record.error) or (meaning_of(record.error_code) if record.error_code else "")
    return error if reveal else mask_numbers(error)


def _address(address: str, *, reveal: bool) -> str:
    return printable(address if reveal else mask(address))
