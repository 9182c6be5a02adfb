"""Answers from memory: for what was answered before, and for nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from offhook.cache.memory import MemoryCache
from offhook.core.forms import Refusal
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.responses import REFUSED, STORED
from offhook.errors import StoreUnavailable
from offhook.events import Answered
from offhook.ingress.reception import Reception
from offhook.stores import open_store
from offhook.stores.api import Store
from testing.webhooks import MESSAGE, SID, STATUS, answered, changed, encoded, settings
from tests.ingress.test_reception import Accept, Watched, webhook


@asynccontextmanager
async def remembering(
    path: Path,
    *,
    accept: Callable[[Store], Accept] = lambda store: store.accept,
    **given: Any,
) -> AsyncIterator[Watched]:
    store = open_store(f"sqlite:///{path}/offhook.db")
    await store.open()
    chosen = settings(**given)
    watched = Watched(store, chosen, accept(store))
    watched.reception = Reception(
        watched.append, chosen, watched.events.append, cache=MemoryCache(ttl=300.0)
    )
    try:
        yield watched
    finally:
        await store.close()


@pytest.mark.parametrize(("kind", "fields"), [(Kind.MESSAGE, MESSAGE), (Kind.STATUS, STATUS)])
async def test_a_repeat_is_answered_from_memory_without_the_store(
    tmp_path: Path, kind: Kind, fields: tuple[tuple[str, str], ...]
) -> None:
    async with remembering(tmp_path) as watched:
        request = webhook(fields, kind=kind)
        first = await watched.process(request)
        before = perf_counter()
        again = await watched.process(request._replace(started=before))
        took = perf_counter() - before
        assert (first.repeat, first.cached) == (False, "")
        assert (again.repeat, again.cached) == (True, "memory")
        assert (again.sid, again.sender, again.status) == (first.sid, first.sender, first.status)
        assert (again.enqueue, again.detail) == (0.0, "")
        assert again.total <= took
        assert watched.answers == [STORED[kind]] * 2
        assert len(watched.accepted) == 1


async def test_a_repeat_that_only_the_store_knows_is_remembered_too(tmp_path: Path) -> None:
    async with remembering(tmp_path) as watched:
        await watched.process(webhook())
        other = webhook(changed(MESSAGE, ErrorCode="11200"))  # as the fallback URL gets it
        told = [await watched.process(other) for _ in range(2)]
        assert [(event.repeat, event.cached) for event in told] == [(True, ""), (True, "memory")]


async def test_a_refusal_is_remembered_and_says_nothing_of_what_it_claims(tmp_path: Path) -> None:
    async with remembering(tmp_path) as watched:
        forged = webhook(token="somebody-elses")
        told = [await watched.process(forged) for _ in range(2)]
        assert [event.cached for event in told] == ["", "memory"]
        assert {(event.status, event.error, event.repeat) for event in told} == {
            (403, "signature-mismatch", False)
        }
        assert {(event.sid, event.sender) for event in told} == {("", "")}
        assert watched.answers == [REFUSED[Refusal.SIGNATURE_MISMATCH]] * 2


async def test_a_forged_body_does_not_pass_for_the_repeat_of_a_genuine_one(tmp_path: Path) -> None:
    genuine = webhook()
    forgeries = [
        genuine._replace(body=encoded(changed(MESSAGE, Body="Pay me"))),
        genuine._replace(body=genuine.body + b"&Body=Pay+me"),
        genuine._replace(path="/twilio/other"),
        genuine._replace(base="https://other.example"),
        genuine._replace(query=b"send=1"),
        genuine._replace(method="GET"),
        genuine._replace(signature=genuine.signature[::-1]),
        genuine._replace(signature=""),
    ]

    async with remembering(tmp_path) as watched:
        await watched.process(genuine)
        for forged in forgeries:
            told = await watched.process(forged)
            assert (told.status, told.cached) == (403, "")


async def test_what_is_our_own_fault_is_not_remembered(tmp_path: Path) -> None:
    failures: list[Exception] = [StoreUnavailable("away"), ZeroDivisionError("unforeseen")]

    def failing(store: Store) -> Accept:
        async def accept(inbound: Inbound) -> bool:
            if failures:
                raise failures.pop(0)
            return await store.accept(inbound)

        return accept

    async with remembering(tmp_path, accept=failing) as watched:
        told = [await watched.process(webhook()) for _ in range(3)]
        assert [event.status for event in told] == [503, 503, 200]
        assert [event.cached for event in told] == ["", "", ""]
        assert not told[-1].repeat


async def test_a_missing_token_is_not_held_against_a_request(tmp_path: Path) -> None:
    async with remembering(tmp_path, auth_token="") as watched:
        told = [await watched.process(webhook()) for _ in range(2)]
        assert [(event.error, event.cached) for event in told] == [("no-auth-token", "")] * 2


async def test_it_is_not_remembered_before_it_is_committed(tmp_path: Path) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    def slow(store: Store) -> Accept:
        async def accept(inbound: Inbound) -> bool:
            reached.set()
            await go_on.wait()
            return await store.accept(inbound)

        return accept

    async with remembering(tmp_path, accept=slow) as watched:
        both = [asyncio.create_task(answered(watched.reception, webhook())) for _ in range(2)]
        await reached.wait()
        assert not any(task.done() for task in both)
        go_on.set()
        await asyncio.gather(*both)
        told = [event for event in watched.events if isinstance(event, Answered)]
        assert sorted(event.repeat for event in told) == [False, True]
        assert [event.cached for event in told] == ["", ""]
        assert [inbound.sid for inbound in watched.accepted] == [SID, SID]
