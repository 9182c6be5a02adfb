"""The state of a conversation, as handlers see it."""

from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from offhook.conversations.conversation import Conversation, to_save
from offhook.conversations.state import MAX_BYTES, State, decoded
from offhook.core.lifecycle import State as MessageState
from offhook.errors import HandlerError, InvalidState, NotRunning, RetryLater
from offhook.stores.api import SavedState
from offhook.worker.handlers import Handlers
from offhook.worker.message import Message
from tests.worker.support import ANN, BOB, handled_by, opened, serving

DAY = 86_400.0


async def test_each_message_finds_what_the_one_before_has_left(tmp_path: Path) -> None:
    found: list[tuple[str, dict[str, Any]]] = []

    async def count(message: Message) -> None:
        state = message.conversation.state
        found.append((message.from_, deepcopy(dict(state))))
        state["count"] = state.get("count", 0) + 1
        state.setdefault("bodies", []).append(message.body)

    async with opened(tmp_path, handled_by(count)) as line, serving(line):
        for body, sender in (("a", ANN), ("b", BOB), ("c", ANN)):
            await line.receive(body, sender=sender)
        await line.told.runs(3)
    assert found.count((BOB, {})) == 1
    assert [state for sender, state in found if sender == ANN] == [
        {},
        {"count": 1, "bodies": ["a"]},
    ]


async def test_a_def_handler_has_the_state_too(tmp_path: Path) -> None:
    def count(message: Message) -> str:
        message.conversation.state["count"] = message.conversation.state.get("count", 0) + 1
        return str(message.conversation.state["count"])

    async with opened(tmp_path, handled_by(count)) as line, serving(line):
        await line.receive("a")
        last = await line.receive("b")
        await line.told.runs(2)
        assert (await line.ledger(last))["return:0"].body == "2"


async def test_an_attempt_that_fails_saves_nothing_and_the_next_finds_the_old(
    tmp_path: Path,
) -> None:
    found: list[dict[str, Any]] = []

    async def answer(message: Message) -> None:
        state = message.conversation.state
        found.append(dict(state))
        state["attempts"] = state.get("attempts", 0) + 1
        state["steps"] = ["half"]
        if message.body == "b" and message.attempt < 3:
            raise RetryLater(0.0, "not yet")

    async with opened(tmp_path, handled_by(answer)) as line, serving(line):
        await line.receive("a")
        await line.receive("b")
        await line.told.runs(4)
    saved = {"attempts": 1, "steps": ["half"]}
    assert found == [{}, saved, saved, saved]


async def test_a_value_that_is_not_json_fails_the_attempt_and_saves_nothing(
    tmp_path: Path,
) -> None:
    async def answer(message: Message) -> str:
        state = message.conversation.state
        state["seen"] = True
        state["times"] = []
        state["times"].append(datetime.now().astimezone())
        return "never sent"

    async def look(message: Message) -> None:
        assert dict(message.conversation.state) == {}

    handlers = Handlers()
    handlers.add_message(answer, where=lambda message: message.body == "a", max_attempts=1)
    handlers.add_message(look, max_attempts=1)
    async with opened(tmp_path, handlers, failure_notice="") as line, serving(line):
        first = await line.receive("a")
        second = await line.receive("b")
        await line.told.runs(2)
        assert "state['times'][0] is of type datetime" in str((await line.record(first)).error)
        assert await line.ledger(first) == {}
        assert await line.state(second) is MessageState.DONE


async def test_the_state_decides_which_handler_runs(tmp_path: Path) -> None:
    handlers = Handlers()

    def step(state: dict[str, Any] | None, **changes: Any) -> None:
        async def answer(message: Message) -> str:
            message.conversation.state.update(changes)
            return f"{state} {message.body}"

        handlers.add_message(answer, state=state)

    step({"step": "name", "language": "en"}, step="age")
    step({"step": "age"}, step="done")
    step({"step": None}, step="name", language="en")
    step(None)
    async with opened(tmp_path, handlers) as line, serving(line):
        sids = [await line.receive(body) for body in "abcd"]
        other = await line.receive("e", sender=BOB)
        await line.told.runs(5)
        answers = [(await line.ledger(sid))["return:0"].body for sid in (*sids, other)]
    assert answers == [
        "{'step': None} a",
        "{'step': 'name', 'language': 'en'} b",
        "{'step': 'age'} c",
        "None d",
        "{'step': None} e",
    ]


async def test_a_predicate_may_look_at_the_state(tmp_path: Path) -> None:
    async def answer(message: Message) -> str:
        message.conversation.state["count"] = 1
        return "first"

    async def again(message: Message) -> str:
        return "again"

    handlers = Handlers()
    handlers.add_message(again, where=lambda message: "count" in message.conversation.state)
    handlers.add_message(answer)
    async with opened(tmp_path, handlers) as line, serving(line):
        await line.receive("a")
        last = await line.receive("b")
        await line.told.runs(2)
        assert (await line.ledger(last))["return:0"].body == "again"


def test_a_handler_cannot_ask_for_a_state_that_no_conversation_has() -> None:
    async def answer(message: Message) -> None: ...

    for wrong, reason in (
        ("age", "state is a dict such as"),
        ({"at": object()}, r"state\['at'\] is of type object"),
    ):
        with pytest.raises(HandlerError, match=reason):
            Handlers().add_message(answer, state=wrong)  # type: ignore[arg-type]


def test_there_is_no_conversation_outside_a_handler() -> None:
    with pytest.raises(NotRunning):
        _ = Message.parse({}).conversation


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (datetime(2026, 1, 1), r"state\['key'\] is of type datetime"),  # noqa: DTZ001
        ({"a": [1, (2,)]}, r"state\['key'\]\['a'\]\[1\] is of type tuple"),
        ({1: "one"}, r"state\['key'\] has a key of type int"),
        (float("nan"), "which JSON does not have"),
        (b"bytes", "of type bytes"),
        (1 << 2000, "an int of 2,001 bits"),
    ],
)
def test_what_is_not_json_is_refused_where_it_is_assigned(value: object, reason: str) -> None:
    state = State({})
    with pytest.raises(InvalidState, match=reason):
        state["key"] = value
    assert dict(state) == {}


def test_names_are_texts_and_values_may_not_hold_themselves() -> None:
    state = State({})
    with pytest.raises(InvalidState, match="names of a state are str, not int"):
        state[1] = "one"  # type: ignore[index]
    endless: list[object] = []
    state["a"] = endless
    endless.append(endless)
    with pytest.raises(InvalidState, match=r"state\['a'\] is nested"):
        state.encoded()


def test_a_state_that_is_too_large_names_its_largest_key() -> None:
    state = State({"small": 1, "large": "x" * MAX_BYTES})
    with pytest.raises(InvalidState, match=r"262,144 at most: state\['large'\]"):
        state.encoded()
    del state["large"]
    assert state.encoded() == b'{"small":1}'


def test_a_state_comes_back_as_it_was_saved() -> None:
    values: dict[str, Any] = {
        "text": "héllo \ud800 \0",
        "n": [1, 2.5, None, True, {"deep": {}}],
        "": "",
    }
    encoded = State(values).encoded()
    assert dict(decoded(encoded)) == values
    assert decoded(encoded).encoded() == encoded
    assert State({}).encoded() == b""


@pytest.mark.parametrize(
    ("change", "age", "saved"),
    [
        ({}, 0.0, None),
        ({"a": 1}, 0.0, None),  # the same value again
        ({}, 2 * DAY, b'{"a":1}'),  # it is used: its retention begins anew
        ({"a": 2}, 0.0, b'{"a":2}'),
    ],
)
def test_only_what_has_changed_is_written(
    change: dict[str, Any], age: float, saved: bytes | None
) -> None:
    conversation = Conversation(SavedState(b'{"a":1}', version=7, age=age))
    assert to_save(conversation) is None, "nobody has looked at it"
    conversation.state.update(change)
    assert to_save(conversation) == saved


def test_a_state_that_is_emptied_is_deleted() -> None:
    conversation = Conversation(SavedState(b'{"a":1}', version=7, age=0.0))
    conversation.state.clear()
    assert to_save(conversation) == b""
    nothing = Conversation(None)
    nothing.state.clear()
    assert to_save(nothing) is None
