"""Every way in which a webhook may come through a proxy, and what it has to be answered.

Invariant: with OFFHOOK_PUBLIC_URL as Twilio calls it, a signed webhook is accepted whatever the
proxy says or leaves out; nobody else's signature ever is; and a refusal names in the log, and only
there, the setting that would have fitted, wherever anything in the request tells it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from offhook.arrivals.direct import reading
from offhook.core.signature import sign
from offhook.events import Answered, Event
from offhook.ingress.reception import Reception
from offhook.ingress.routes import routes
from offhook.stores import open_store
from offhook.stores.api import Store
from testing.nginx import Forwarding, Nginx, nginx
from testing.webhooks import (
    FORM,
    MESSAGE,
    TOKEN,
    Reply,
    encoded,
    named,
    read_reply,
    request,
    served,
    settings,
)

SOMEBODY_ELSES = "f" * 32


class Setting(StrEnum):
    """How the bot is told its URL."""

    FIXED = "public URL"
    OTHER = "another public URL"
    TRUSTED = "none; proxy trusted, host listed"
    UNLISTED = "none; proxy trusted"
    UNTRUSTED = "none; not trusted"


class Prefix(StrEnum):
    """What stands before the route in the path."""

    NONE = ""
    KEPT = "/kept"  # the bot is mounted there
    CUT = "/cut"  # the proxy takes it away


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and the set-up it meets."""

    setting: Setting
    forwarding: Forwarding
    scheme: str
    prefix: Prefix
    host: str
    port: str
    query: str
    slash: str

    @property
    def base(self) -> str:
        """What OFFHOOK_PUBLIC_URL should be."""
        cut = self.prefix if self.prefix is Prefix.CUT else ""
        return f"{self.scheme}://{self.host}{self.port}{cut}"

    @property
    def target(self) -> str:
        return f"{self.prefix}/twilio/messages{self.slash}{self.query}"

    @property
    def called(self) -> str:
        """The URL that Twilio calls, and signs."""
        return f"{self.scheme}://{self.host}{self.port}{self.target}"


@dataclass(frozen=True, slots=True)
class Expected:
    """An answer, and what the log ends with."""

    status: int
    error: str = ""
    told: str = ""


ANSWERED = Expected(200)
NOT_FOUND = Expected(404, "not-found")
NOT_ALLOWED = Expected(421, "host-not-allowed", "to OFFHOOK_ALLOWED_HOSTS")


def cases() -> Iterator[Case]:
    yield from (
        Case(*values)
        for values in product(
            Setting,
            Forwarding,
            ("https", "http"),
            Prefix,
            ("bot.example.com", "203.0.113.7"),
            ("", ":8443"),
            ("", "?tenant=7&x=%20a"),
            ("", "/"),
        )
    )


def expected(case: Case) -> Expected:
    """Return what has to come of a case."""
    if case.slash:
        return NOT_FOUND  # the route has none at its end, and Twilio is given the route
    if case.setting is Setting.FIXED:
        return ANSWERED
    believes = case.setting in {Setting.TRUSTED, Setting.UNLISTED}
    if case.forwarding is Forwarding.SETS:
        plain = case.scheme == "http"
        seen = believes or (case.setting is Setting.UNTRUSTED and plain)
        if seen and case.prefix is not Prefix.CUT:
            return NOT_ALLOWED if case.setting is Setting.UNLISTED else ANSWERED
        return _refused(f"set OFFHOOK_PUBLIC_URL={case.base}")
    forged = believes and case.forwarding is Forwarding.FORGED
    if forged or case.setting is Setting.OTHER:
        return _refused("(each subaccount has its own)")
    return _refused("set OFFHOOK_PUBLIC_URL to it")


def _refused(told: str) -> Expected:
    return Expected(403, "signature-mismatch", told)


class Line:
    """A bot that can be set up anew for each request, behind a real nginx."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._app: ASGIApp = routes_of(store, Setting.FIXED, "https://a.example", print)
        self._told: asyncio.Queue[Answered] = asyncio.Queue()
        self._number = 0
        self._links: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self.proxy: Nginx

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def try_out(self, case: Case, token: str = TOKEN) -> Expected:
        """Send a case's request, signed with a token; return what came of it."""
        self._app = routes_of(self._store, case.setting, case.base, self._observe)
        if case.prefix is Prefix.KEPT:
            self._app = Starlette(routes=[Mount(Prefix.KEPT, self._app)])
        self._number += 1
        fields = named(MESSAGE, f"SM{self._number:032x}")
        headers = {
            "Host": f"{case.host}{case.port}",
            "Content-Type": FORM,
            "X-Twilio-Signature": sign(url=case.called, params=fields, auth_token=token),
        }
        if case.forwarding is Forwarding.FORGED:
            headers |= {"X-Forwarded-Host": "evil.example.net", "X-Forwarded-Proto": "https"}
        reply = await self._exchange(case, request("POST", case.target, encoded(fields), headers))
        # Nothing but the name of the error goes out.
        assert case.host not in str(reply)
        if reply.error == NOT_FOUND.error:
            return Expected(reply.status, reply.error)
        told = await asyncio.wait_for(self._told.get(), 20)
        return Expected(reply.status, reply.error, told.detail)

    def _observe(self, event: Event) -> None:
        if isinstance(event, Answered):
            self._told.put_nowait(event)

    async def _exchange(self, case: Case, data: bytes) -> Reply:
        port = self.proxy.ports[case.scheme, case.forwarding]
        if port not in self._links:
            secure = _trusting(self.proxy.certificate) if case.scheme == "https" else None
            name = "bot.example.com" if secure else None
            self._links[port] = await asyncio.open_connection(
                "127.0.0.1", port, ssl=secure, server_hostname=name
            )
        reader, writer = self._links[port]
        writer.write(data)
        return await read_reply(reader)

    async def close(self) -> None:
        for _, writer in self._links.values():
            writer.close()


def routes_of(store: Store, setting: Setting, base: str, observe: object) -> ASGIApp:
    assert callable(observe)
    given = {
        Setting.FIXED: {"public_url": base},
        Setting.OTHER: {"public_url": "https://old.example.com"},
        Setting.TRUSTED: {
            "public_url": "",
            "trusted_proxies": "127.0.0.1",
            "allowed_hosts": "*.example.com, 203.0.113.7",
        },
        Setting.UNLISTED: {"public_url": "", "trusted_proxies": "127.0.0.1"},
        Setting.UNTRUSTED: {"public_url": "", "allowed_hosts": "*"},
    }[setting]
    chosen = settings(**given)

    async def ready() -> bool:
        return True

    return routes(Reception(reading(store.accept), chosen, observe), chosen, ready=ready)


@asynccontextmanager
async def line(directory: Path) -> AsyncIterator[Line]:
    """Run a bot behind nginx."""
    async with AsyncExitStack() as stack:
        store = open_store(f"sqlite:///{directory}/offhook.db")
        await store.open()
        stack.push_async_callback(store.close)
        made = Line(store)
        upstream = await stack.enter_async_context(served(made))
        made.proxy = await asyncio.to_thread(stack.enter_context, nginx(directory, upstream))
        stack.push_async_callback(made.close)
        yield made


def fits(found: Expected, wanted: Expected) -> bool:
    """Return whether it is what was expected; the log's line begins with the URL checked."""
    same = (found.status, found.error) == (wanted.status, wanted.error)
    return same and found.told.endswith(wanted.told) and bool(found.told) is bool(wanted.told)


def _trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)
