"""What people, bots and Twilio write can't command the terminal of who reads it."""

import asyncio
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.observe.log import configure_logging
from offhook.stores import open_store
from offhook.stores.api import Draft, SendOutcome, Settlement
from testing.commands import Call, Home, dev

# Clears the screen, sets the title (two ways), rings, goes back to the line's start, turns what
# follows around, hides an end of line, and is half a character.
ATTACK = "a\x1b[2J\x1b]0;pwned\x07\x9b2J\r\b\x7f\u202eb\u2066c\u2028d\u0085e\U000e0041f"
HARMLESS = "\u05e9\u05dc\u05d5\u05dd \U0001f468\u200d\U0001f469 \u0646\u200c"


def commanding(text: str) -> set[str]:
    """Return what of a text is no sign on paper."""
    return {char for char in text if not char.isprintable()} - set("\n\u200c\u200d")


@pytest.fixture
def store(tmp_path: Path) -> None:
    """Make a store in which everything that others write is an attack."""

    async def fill() -> None:
        store = open_store(f"sqlite:///{tmp_path}/offhook.db")
        await store.open()
        for number, trigger in enumerate((Trigger.GIVE_UP, Trigger.DISCARD, Trigger.PARK)):
            sid = f"SM{number}{ATTACK}"
            form = urlencode({"MessageSid": sid, "Body": ATTACK + HARMLESS}).encode()
            await store.accept(
                Inbound(
                    kind=Kind.MESSAGE, key=bytes([number]) * 16, lane=f"lane{number}",
                    account_sid="AC1", sid=sid, sender=ATTACK, recipient=ATTACK, form=form,
                )
            )  # fmt: skip
            (claim,) = (await store.claim(1, lease=30.0, owner="w1", alone=False)).claims
            await store.write(claim, [Draft("reply:0", "AC1", ATTACK, ATTACK, ATTACK)])
            (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
            await store.settle_send(sending, SendOutcome(SendTrigger.REFUSE, error=ATTACK))
            error = f'Traceback\n  File "bot.py", line 1\n\tValueError: {ATTACK}\n{ATTACK}'
            await store.settle(claim, Settlement(trigger, error=error))
        await store.close()

    asyncio.run(fill())


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("reveal", [(), ("--reveal",)])
@pytest.mark.parametrize("command", [("list",), ("show", "1", "2", "3")])
def test_commands_show_signs_alone(
    call: Call, command: tuple[str, ...], reveal: tuple[str, ...]
) -> None:
    shown = call("messages", *command, *reveal)
    assert shown.status == 0
    assert commanding(shown.stdout + shown.stderr) == set()
    if reveal:
        assert HARMLESS in shown.stdout
    for line in call("messages", *command, *reveal, "--json").stdout.splitlines():
        assert commanding(line) == set()
        assert not reveal or json.loads(line)["body"] == ATTACK + HARMLESS, "scripts get it whole"


@pytest.mark.usefixtures("store")
def test_what_is_listed_before_a_change_shows_signs_alone(call: Call) -> None:
    for more in ((), ("--json",)):
        arguments = ("replay", "--all", "--state", "dead", "--dry-run", *more)
        assert commanding(call("messages", *arguments).stdout) == set()


def test_dev_shows_signs_alone(tmp_path: Path, call_in: Callable[[Home], Call]) -> None:
    home = Home(
        tmp_path,
        f"""
from offhook import Discard, Message, Offhook
app = Offhook(failure_notice="")

@app.message()
def answer(message: Message) -> str:
    if "discard" in message.body:
        raise Discard({ATTACK!r})
    if "fail" in message.body:
        raise ValueError({ATTACK!r})
    return message.body
""",
        OFFHOOK_MAX_ATTEMPTS="1",
    )
    with dev(home) as process:
        text = call_in(home)
        for word in ("answer", "discard", "fail"):
            said = text("text", word + ATTACK, "--from", "+15551230001")
            assert commanding(said.stdout + said.stderr) == set(), word
            said = text("text", word + ATTACK, "--json")
            assert commanding(said.stdout + said.stderr) == set(), word
        process.wait_for("ValueError", 2)
        assert commanding(process.output) == set()


def test_a_complaint_shows_signs_alone(call: Call) -> None:
    status, shown, said = call("stats", "--store", f"sqlite:///{ATTACK}")
    assert status == 1
    assert "there is no store at" in said
    assert commanding(shown + said) == set()


@pytest.mark.parametrize("as_json", [False, True])
def test_the_log_shows_signs_alone(as_json: bool) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure_logging("info", as_json=as_json, tracebacks=True, stream=stream)
        logger = logging.getLogger("bot")
        logger.warning("they wrote %s", ATTACK)
        logger.error("it failed", exc_info=ValueError(ATTACK))
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    assert "pwned" in stream.getvalue()
    assert commanding(stream.getvalue()) == set()
    if as_json:
        assert json.loads(stream.getvalue().splitlines()[0])["text"] == f"they wrote {ATTACK}"
