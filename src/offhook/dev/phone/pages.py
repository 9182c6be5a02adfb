"""The phone's HTML: the whole page, and the parts that are updated."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Any, Final, NamedTuple

from offhook.dev.phone.bubbles import Bubble, Conversation, Incoming, Outgoing
from offhook.dev.phone.conversations import Conversations
from offhook.dev.phone.journal import PageChange, Position
from offhook.dev.phone.switches import LABELS, FaultSwitch
from offhook.dev.phone.timeline import timeline
from offhook.stores.api import History
from offhook.twilio.simulator.delivery import Request
from offhook.web.design import templates

HERE: Final = Path(str(files(__package__)))


class Standing(NamedTuple):
    """What the store has of a message.

    Attributes:
        state: of its conversation: keys and values.
    """

    history: History
    state: Sequence[tuple[str, str]]


class Pages:
    """Render the conversations.

    Args:
        book: the conversations.
        switches: returns the switches that are on.
        own_media: URL prefix of attachments; only these are shown as pictures, since the page
            loads nothing from other origins.
    """

    def __init__(
        self, book: Conversations, switches: Callable[[], frozenset[FaultSwitch]], own_media: str
    ) -> None:
        self._book = book
        self._switches = switches
        self._templates = templates(HERE, pretty=pretty, curl=curl)
        self._templates.globals.update(own_media=own_media, labels=LABELS)

    def prepare(self) -> None:
        """Compile all templates in advance; slow, and safe in a thread."""
        for name in self._templates.list_templates():
            self._templates.get_template(name)

    def page(
        self,
        conversation: Conversation,
        bubble: Bubble | None,
        position: Position,
        standing: Standing | None = None,
    ) -> str:
        """Return the whole page, with a conversation open and perhaps a bubble's details."""
        return self._render(
            "phone.html",
            conversations=self._book.conversations,
            conversation=conversation,
            switches=self._switches(),
            position=str(position),
            now=time.time(),
            **self._line(bubble, standing),
        )

    def conversation(self, conversation: Conversation) -> str:
        """Return one conversation, with its form for writing."""
        return self._render("conversation.html", conversation=conversation)

    def line(
        self, conversation: Conversation, bubble: Bubble, standing: Standing | None = None
    ) -> str:
        """Return the details of a bubble, and the state of its message in the store."""
        return self._render("line.html", conversation=conversation, **self._line(bubble, standing))

    def change(self, change: PageChange) -> Mapping[str, Any] | None:
        """Return the data that a browser needs to show a change; None if it is gone already."""
        if change.kind == "progress":
            return {}
        if change.kind == "trouble":
            return {"on": sorted(self._switches())}
        conversation = self._book.find(change.conversation)
        if conversation is None:
            return None
        if change.kind == "conversation":
            return {
                "conversation": conversation.id,
                "entry": self._render("entry.html", one=conversation, conversation=None),
                "head": self._render("head.html", conversation=conversation),
            }
        bubble = self._book.bubble(change.bubble)
        if bubble is None:
            return None
        html = self._render("bubble.html", conversation=conversation, bubble=bubble)
        return {"conversation": conversation.id, "bubble": bubble.id, "html": html}

    def _line(self, bubble: Bubble | None, standing: Standing | None) -> dict[str, Any]:
        values = {"bubble": bubble, "cause": None, "moments": (), "standing": None, "ahead": None}
        match bubble:
            case Incoming():
                ahead = standing.history.behind if standing else None
                return values | {
                    "moments": timeline(bubble, self._book.effects(bubble)),
                    "standing": standing.history if standing else None,
                    "state": standing.state if standing else (),
                    "ahead": self._book.by_message(ahead.id) if ahead else None,
                }
            case Outgoing():
                return values | {
                    "moments": timeline(bubble, ()),
                    "cause": self._book.cause(bubble),
                }
        return values

    def _render(self, name: str, **values: Any) -> str:
        return self._templates.get_template(name).render(**values)


def curl(request: Request) -> str:
    """Return the command that posts a webhook once more, with the signature that it had."""
    headers = [f"-H {quote(f'{name}: {value}')}" for name, value in request.headers]
    params = [f"--data-urlencode {quote(f'{name}={value}')}" for name, value in request.params]
    method = [] if request.params else [f"-X {request.method}"]
    return " ".join(["curl", quote(request.url), *method, *headers, *params])


def pretty(text: str) -> str:
    """Indent JSON; return other text unchanged."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
