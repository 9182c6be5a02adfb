"""The ASGI entry of a real ingress, and what must hold for every request."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from offhook.core.responses import REFUSED
from offhook.events import Answered, Event, Problem, Sorted, Topic
from offhook.ingress.role import Ingress
from offhook.stores import store_of
from offhook.worker.sorter import catch_up
from testing.webhooks import TWIML, settings
from tests.fuzz.shots import TENANT, Shot

STATUSES = {reason.value: answer.status for reason, answer in REFUSED.items()}
HEALTH = {b"alive\n", b"ready\n", b""}
TENANTS_TOKEN = "the tenant's"


async def lookup(account: str) -> str | None:
    """Know one tenant, and be away for some accounts."""
    if account.endswith("0"):
        raise OSError("away")
    return TENANTS_TOKEN if account == TENANT else None


class Entry:
    """An ingress with a store, which counts what it has stored.

    Attributes:
        answers: by status and error.
        accepted: webhooks that were answered 2xx, without those that the cache knew.
        stored: webhooks that were new when they were sorted.
        repeated: those that were not.
    """

    def __init__(self, path: Path, *, tenants: bool = False, **given: Any) -> None:
        chosen = settings(store=f"sqlite:///{path}/offhook.db", **given)
        self._ingress = Ingress(chosen, self._observe, lookup=lookup if tenants else None)
        self._store = store_of(chosen)
        self.answers: Counter[tuple[int, str]] = Counter()
        self.accepted = self.stored = self.repeated = 0
        self.problems: list[Problem] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Entry"]:
        await self._ingress.start()
        await self._store.open()
        try:
            yield self
        finally:
            await self._store.close()
            await self._ingress.stop()

    def _observe(self, event: Event) -> None:
        match event:
            case Answered():
                self.accepted += event.error == "" and not event.repeat
            case Sorted():
                self.stored += event.new
                self.repeated += event.repeated
            case Problem(topic=topic):
                assert topic not in {Topic.INTERNAL_ERROR, Topic.STORE_UNAVAILABLE}, event
                self.problems.append(event)

    async def fire(self, shot: Shot, dice: random.Random) -> tuple[int, str]:
        """Send one request; check that its answer has a name, or says that it is stored."""
        client = _Client(shot.body, dice)
        try:
            await self._ingress.asgi(shot.scope(dice), client.receive, client.send)
            answer = client.answer()
        except Exception as error:
            raise AssertionError(f"{error!r} after {shot!r}") from error
        self.answers[answer] += 1
        return answer

    async def check_store(self) -> None:
        """Check that the store holds what was said to be stored, and nothing else."""
        assert await catch_up(self._store, self._observe, patience=60)
        counts = await self._store.counts()
        assert sum(counts.messages.values()) == self.stored
        assert self.accepted == self.stored + self.repeated


class _Client:
    """A client whose body comes in pieces, and who may leave before its end."""

    def __init__(self, body: bytes, dice: random.Random) -> None:
        pieces = dice.choice((1, 1, 1, 2, 5))
        size = len(body) // pieces + 1
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        self._leaves = dice.random() < 0.01
        self._yields = dice.random() < 0.2
        self._sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        if self._yields:
            await asyncio.sleep(0)
        if not self._pieces or (self._leaves and len(self._pieces) == 1):
            return {"type": "http.disconnect"}
        piece = self._pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}

    async def send(self, message: Any) -> None:
        self._sent.append(message)

    def answer(self) -> tuple[int, str]:
        """Return status and error, which have to go together."""
        if not self._sent:
            assert self._leaves, "no answer"
            return 499, "client-gone"
        start, *bodies = self._sent
        assert (start["type"], {body["type"] for body in bodies}) == (
            "http.response.start",
            {"http.response.body"},
        )
        body = b"".join(body.get("body", b"") for body in bodies)
        assert not bodies[-1].get("more_body", False)
        headers = dict(start["headers"])
        status, error = start["status"], headers.get(b"x-offhook-error", b"").decode()
        assert status != 500
        if error:
            assert STATUSES[error] == status
            assert body == TWIML
        else:
            assert (status in {200, 204} and body in {TWIML, b""}) or body in HEALTH
        return status, error
