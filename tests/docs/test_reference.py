"""The reference is complete, and tells of nothing that is not there."""

import re
import shlex
import typing
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

import offhook
from offhook import errors, events
from offhook.admin.routes import admin_routes
from offhook.arrivals.direct import reading
from offhook.core.hosts import HostNames
from offhook.core.lifecycle import SendState, SendTrigger, State, Trigger
from offhook.core.reasons import Cause
from offhook.core.responses import REFUSED
from offhook.core.secret import SecretStr
from offhook.dev.phone.switches import LABELS
from offhook.dev.server import _Router
from offhook.ingress.reception import Reception
from offhook.ingress.routes import routes
from offhook.settings import Settings, variable
from offhook.stores import open_store
from tests.docs.pages import DOCS, PAGES, Block, blocks, prose, table
from tools.pages.commands import options, tree

REFERENCE = DOCS / "reference"
SOURCES = Path(offhook.__file__).parent
_DEFINING = {"events.py", "reasons.py"}


def _shown(default: Any) -> str:
    """Return a default as the page of settings shows it."""
    match default:
        case None | "" | ():
            return "none"
        case SecretStr():
            return _shown(default.get_secret_value())
        case bool():
            return f"`{str(default).lower()}`"
        case (int(number), 60.0):
            return f"`{number}/minute`"
        case tuple():
            return f"`{','.join(default)}`"
        case _:
            return f"`{default}`"


def test_settings() -> None:
    documented = table(REFERENCE / "settings.md", "variable")
    defaults = {variable(name): default for name, default in Settings.defaults().items()}
    assert documented.keys() == defaults.keys()
    for name, (default, meaning) in documented.items():
        assert default == _shown(defaults[name]), name
        assert meaning.endswith("."), name


def test_names_of_errors() -> None:
    documented = table(REFERENCE / "errors.md", "`X-Offhook-Error`")
    assert {name: int(row[0]) for name, row in documented.items()} == {
        reason.value: answer.status for reason, answer in REFUSED.items()
    }
    assert all(row[-1].endswith(".") for row in documented.values()), "each has a remedy"


def test_the_tree_of_errors_has_them_all() -> None:
    drawn = set(re.findall(r"[A-Z]\w+(?=\s|$)", _tree()))
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert defined <= drawn


def _tree() -> str:
    [tree_] = [
        block.code for block in blocks(REFERENCE / "errors.md") if "OffhookError" in block.code
    ]
    return tree_


def test_events() -> None:
    text = prose(REFERENCE / "events.md")
    for event in typing.get_args(events.Event):
        assert f"### `{event.__name__}`" in text


def test_topics_of_problems() -> None:
    assert table(REFERENCE / "events.md", "topic").keys() == set(events.Topic)


@pytest.mark.parametrize("enum", [events.Topic, Cause], ids=lambda enum: enum.__name__)
def test_no_name_is_there_that_nothing_tells(enum: type[StrEnum]) -> None:
    sources = "".join(
        path.read_text() for path in SOURCES.rglob("*.py") if path.name not in _DEFINING
    )
    untold = {one for one in enum if f"{enum.__name__}.{one.name}" not in sources}
    assert untold <= {Cause.SENT_OFTEN}  # earlier versions told it


def test_states_and_triggers() -> None:
    page = REFERENCE / "lifecycle.md"
    text = page.read_text()
    messages, sends = text.split("## Replies and notices")
    for part, states, triggers in (
        (messages, State, Trigger),
        (sends, SendState, SendTrigger),
    ):
        assert set(re.findall(r"^\| `([\w-]+)` \| [^`]", part, re.MULTILINE)) == {
            *states,
            *triggers,
        }


def test_routes() -> None:
    settings = Settings.load(env_file=None)
    store = open_store("sqlite:///never-opened.db")

    async def ready() -> bool:
        return True

    router = routes(Reception(reading(store.accept), settings, print), settings, ready=ready)
    assert table(REFERENCE / "http.md", "route").keys() >= router.paths


def test_routes_of_the_admin_address() -> None:
    async def ready() -> bool:
        return True

    async def metrics(_accept: str) -> tuple[bytes, str]:
        return b"", ""

    router = admin_routes(ready=ready, metrics=metrics, hosts=HostNames(()))
    assert table(REFERENCE / "http.md", "admin route").keys() == router.paths


def test_routes_of_dev() -> None:
    entrance = _Router(*[nowhere] * 3, phone=nowhere, dashboard=nowhere, metrics=nowhere)
    assert table(REFERENCE / "http.md", "routes below").keys() == {"/", *entrance._others}


async def nowhere(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stand for what is behind a route."""


def test_the_phones_switches() -> None:
    documented = table(DOCS / "how-to" / "phone.md", "switch")
    assert {name: f"{row[0].capitalize()}." for name, row in documented.items()} == {
        label.name: label.effect.capitalize() for label in LABELS.values()
    }


def test_commands() -> None:
    text = prose(REFERENCE / "commands.md")
    for name, command in tree():
        assert re.search(rf"^#+ {name}$", text, re.MULTILINE), name
        chapter = re.split(rf"^#+ {name}$", text, flags=re.MULTILINE)[1]
        for option in options(command):
            assert f"`{option}" in chapter, f"{name} {option}"


SHELL = [block for block in blocks(*PAGES) if block.language in {"console", "ini", ""}]


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_no_command_and_no_option_is_invented(block: Block) -> None:
    known = dict(tree())
    for words in _called(block.code):
        name, rest = "offhook", list(words)
        while rest and f"{name} {rest[0]}" in known:
            name = f"{name} {rest.pop(0)}"
        assert name in known, words
        assert not hasattr(known[name], "commands"), f"{words}: a group is not a command"
        given = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert given <= set(options(known[name])), words


def _called(code: str) -> Iterator[list[str]]:
    """Yield the arguments of each `offhook` that a block calls; after a `$`, if it has any."""
    prompted = re.findall(r"^\$ (.*)$", code, re.MULTILINE)
    for line in prompted or code.splitlines():
        if match := re.search(r"(?:^|[\s/=])offhook (.*)$", line):
            yield shlex.split(match[1], comments=True)
