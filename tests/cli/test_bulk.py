"""Commands on many messages at once: a thousand dead ones of Ann's, and what Bob has sent."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import State, Trigger
from offhook.stores import open_store
from offhook.stores.api import (
    Claim,
    Counts,
    Filter,
    Settlement,
    Store,
)
from testing.commands import Call, Home, until
from tests.cli.terminal import on_a_terminal
from tests.docs.json_fields import assert_documented

T = TypeVar("T")
ANN, BOB = "+15551230001", "+15551230002"
MANY = 1000


def inbound(sid: str, sender: str, lane: str) -> Inbound:
    return Inbound(
        kind=Kind.MESSAGE, key=sid.encode().ljust(16), lane=lane, account_sid="AC1", sid=sid,
        sender=sender, recipient="+15005550006", form=f"MessageSid={sid}&Body=secret".encode(),
    )  # fmt: skip


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Store]:
    store = open_store(f"sqlite:///{directory}/offhook.db")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def ask(directory: Path, question: Callable[[Store], Awaitable[T]]) -> T:
    async def main() -> T:
        async with opened(directory) as store:
            return await question(store)

    return asyncio.run(main())


def counts(directory: Path) -> Counts:
    return ask(directory, lambda store: store.counts())


async def claims(store: Store) -> tuple[Claim, ...]:
    return (await store.claim(MANY, lease=30.0, owner="w1", alone=False)).claims


async def fill(store: Store) -> None:
    await asyncio.gather(*(store.accept(inbound(f"A{n:04}", ANN, f"{n}")) for n in range(MANY)))
    dead = Settlement(Trigger.GIVE_UP, error="ValueError: secret")
    await asyncio.gather(*(store.settle(claim, dead) for claim in await claims(store)))
    await store.accept(inbound("B1", f"whatsapp:{BOB}", "bob"))
    await asyncio.gather(*(store.settle(claim, dead) for claim in await claims(store)))
    await store.accept(inbound("B2", BOB, "bob"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the store that each test has a copy of."""
    directory = tmp_path_factory.mktemp("filled")
    ask(directory, fill)
    return directory


@pytest.fixture(autouse=True)
def store(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)


def summary(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


DEAD = ("--all", "--state", "dead")


def test_a_dry_run_says_how_many_and_shows_the_first_few(call: Call, tmp_path: Path) -> None:
    shown = call("messages", "replay", *DEAD, "--sender", ANN, "--dry-run")
    assert shown.status == 0
    assert "1,000 messages would be replayed" in shown.stdout
    assert "A0000" in shown.stdout
    assert "A0005" not in shown.stdout
    told = summary(call("messages", "discard", *DEAD, "--dry-run", "--json").stdout)
    assert (told["matched"], told["discarded"], len(told["first"])) == (MANY + 1, 0, 5)
    assert_documented("all changes", told, "`messages discard`", "`--dry-run`")
    assert counts(tmp_path).messages[State.DEAD] == MANY + 1


def test_a_thousand_are_replayed(call: Call, tmp_path: Path) -> None:
    replay = ("messages", "replay", *DEAD, "--sender", ANN, "--rate", "100000/s", "--yes")
    shown = call(*replay, "--json")
    assert shown.status == 0, shown.stderr
    assert summary(shown.stdout) == {
        "matched": MANY, "replayed": MANY, "refused": 0, "untouched": 0,
        "interrupted": False, "error": "",
    }  # fmt: skip
    assert_documented("all changes", summary(shown.stdout), "`messages replay`", "no `--dry-run`")
    found = counts(tmp_path).messages
    assert (found[State.DEAD], found[State.OPEN]) == (1, MANY + 1)
    assert call(*replay).stdout == "0 of 0 replayed\n"


def test_a_conversation_is_replayed_in_its_order(call: Call, tmp_path: Path) -> None:
    async def prepare(store: Store) -> None:
        for n in range(3):
            await store.accept(inbound(f"C{n}", "+15551239999", "carl"))
        for _ in range(4):  # B2 is among them
            for claim in await claims(store):
                await store.settle(claim, Settlement(Trigger.GIVE_UP))

    ask(tmp_path, prepare)
    replay = ("messages", "replay", *DEAD, "--sender", "+15551239999", "--yes")
    assert call(*replay).stdout == "3 of 3 replayed\n"

    async def order(store: Store) -> list[str]:
        found = []
        while taken := await claims(store):
            found += [claim.sid for claim in taken]
            for claim in taken:
                await store.settle(claim, Settlement(Trigger.COMPLETE))
        return found

    assert ask(tmp_path, order) == ["C0", "C1", "C2"]


def test_filters_choose_what_is_discarded(call: Call, tmp_path: Path) -> None:
    discard = ("messages", "discard", *DEAD, "--yes")
    assert call(*discard, "--until", "1h").stdout == "0 of 0 discarded\n"
    assert call(*discard, "--sid", "A0007").stdout == "1 of 1 discarded\n"
    assert (
        call(*discard, "--since", "1h", "--rate", "600000/m").stdout == "1,000 of 1,000 discarded\n"
    )
    assert counts(tmp_path).messages[State.DISCARDED] == MANY + 1


def test_it_keeps_to_the_rate(call: Call, tmp_path: Path) -> None:
    async def leave_eleven(store: Store) -> None:
        for record in (await store.find(Filter(state=State.DEAD, limit=2 * MANY)))[11:]:
            await store.drop(record.id)

    ask(tmp_path, leave_eleven)
    started = time.monotonic()
    replay = ("messages", "replay", *DEAD, "--rate", "20/s", "--yes")
    assert call(*replay).stdout == "11 of 11 replayed\n"
    assert time.monotonic() - started >= 10 / 20  # the first of them does not wait


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all",),
        ("1", "--all", "--state", "dead"),
        ("--state", "dead"),
        ("1", "--state", "dead"),
        ("1", "--dry-run"),
        (*DEAD, "--rate", "fast", "--yes"),
        DEAD,  # nobody there to be asked
    ],
)
def test_what_might_mean_more_than_was_thought_of_is_refused(
    call: Call, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    shown = call("messages", "replay", *arguments)
    assert shown.status == 2
    assert counts(tmp_path).messages[State.DEAD] == MANY + 1


def test_ctrl_c_ends_it_between_two_and_says_how_far_it_came(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.start("messages", "replay", *DEAD, "--rate", "50/s", "--yes", "--json") as process:
        until(lambda: counts(tmp_path).messages[State.DEAD] < MANY - 5, process.explain)
        process.interrupt()
        assert process.exit_status() == 130
        told = summary(process.output)
    assert told["interrupted"]
    assert told["refused"] == 0
    assert told["replayed"] + told["untouched"] == told["matched"] == MANY + 1
    assert counts(tmp_path).messages[State.DEAD] == told["untouched"] > 0


def test_a_terminal_is_asked_first_and_sees_a_bar(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for answer, dead in (("n\n", MANY + 1), ("y\n", 0)):
        with on_a_terminal(home, "messages", "discard", *DEAD) as terminal:
            terminal.until_shown("discard 1,001 messages?")
            terminal.type(answer)
            terminal.end()
        assert ("1,001 of 1,001 discarded" in terminal.shown) is (dead == 0)
        assert ("━" in terminal.shown) is (dead == 0)
        assert counts(tmp_path).messages[State.DEAD] == dead


def test_a_person_is_erased(call: Call, tmp_path: Path) -> None:
    shown = call("messages", "erase", "--sender", ANN, "--yes", "--json")
    assert shown.status == 0
    assert summary(shown.stdout) == {"erased": MANY, "busy": 0}
    assert_documented("`messages erase`", summary(shown.stdout))
    shown = call("messages", "erase", "--sender", f"whatsapp:{BOB}", "--yes")
    assert "2 messages, sends and states of +1555***0002, whatsapp:+1555***0002" in shown.stdout
    assert call("messages", "list").stdout == "no messages\n"
    for file in tmp_path.glob("offhook.db*"):
        assert ANN.encode() not in file.read_bytes()


def test_what_is_running_is_not_erased_and_said(call: Call, tmp_path: Path) -> None:
    ask(tmp_path, claims)
    shown = call("messages", "erase", "--sender", BOB, "--yes", "--wait", "0")
    assert shown.status == 1
    assert "1 messages, sends and states" in shown.stdout
    assert "1 are still being handled or sent" in shown.stderr


def test_nobody_is_erased_unasked(call: Call, tmp_path: Path) -> None:
    assert call("messages", "erase", "--sender", ANN).status == 2
    assert call("messages", "erase", "--sender", " ", "--yes").status == 2
    assert counts(tmp_path).messages[State.DEAD] == MANY + 1
