"""Render the dashboard's HTML. Texts and phone numbers are hidden unless revealed."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from offhook.core.forms import parameters
from offhook.core.identity import user_id_of
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, State
from offhook.core.reasons import as_template
from offhook.observe.redaction import brief, mask, mask_numbers, printable
from offhook.stores.api import Record, SendRecord
from offhook.twilio.error_codes import meaning_of
from offhook.web.design import templates

HERE: Final = Path(str(files(__package__)))

TONES: Final = {
    State.DONE: "good",
    State.DEAD: "bad",
    State.PARKED: "warn",
    State.WAITING: "warn",
    SendState.SENT: "good",
    SendState.FAILED: "bad",
    SendState.UNDELIVERED: "bad",
    SendState.UNKNOWN: "warn",
}
_CUT: Final = 140  # characters of a text in a list


class Pages:
    """Renders templates.

    Args:
        phone: the path of the phone under `offhook dev`; empty without one.
    """

    def __init__(self, phone: str = "") -> None:
        self._templates = templates(
            HERE,
            address=address,
            brief=brief,
            explained=meaning_of,
            fields=fields,
            mask_numbers=mask_numbers,
            said=said,
            shortfall=shortfall,
            tone=tone,
            user_id=user_id,
        )
        self._templates.globals.update(
            states=tuple(State), send_states=tuple(SendState), phone=phone
        )

    def prepare(self) -> None:
        """Compile all templates; slow. May be called in a thread."""
        for name in self._templates.list_templates():
            self._templates.get_template(name)

    def render(self, name: str, **values: Any) -> str:
        """Render a template with values."""
        return self._templates.get_template(name).render(**values)


def address(text: str, reveal: bool) -> str:
    """Return an address, masked unless revealed."""
    return printable(text if reveal else mask(text))


def said(record: Record) -> str:
    """Return a message's text, shortened for a list."""
    body = parameters(record.form).get("Body", "")
    return body if len(body) <= _CUT else f"{body[:_CUT].rstrip()}…"


def shortfall(record: SendRecord, reveal: bool) -> str:
    """Return why a reply was not sent or not delivered, with Twilio's code.

    Of one that was: why its fallback was sent; empty if it was not.
    """
    text = str(record.error) or (meaning_of(record.error_code) if record.error_code else "")
    if not text and record.fell_back:
        text = as_template(record.content_sid, record.fell_back)
    shown = f"{record.error_code} {text}".strip()
    return printable(shown if reveal else mask_numbers(shown))


def fields(record: Record) -> list[tuple[str, str]]:
    """Return the parameters of a webhook."""
    return list(parameters(record.form).items())


def user_id(record: Record) -> str:
    """Return the WhatsApp user id of who wrote a message; empty without one."""
    return user_id_of(parameters(record.form)) if record.kind is Kind.MESSAGE else ""


def tone(state: State | SendState) -> str:
    """Return the tone in which a state is shown."""
    return TONES.get(state, "")
