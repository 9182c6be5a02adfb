"""`Offhook`: where handlers are registered, and an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from starlette.types import Receive, Scope
from starlette.types import Send as SendEvent

from offhook.concurrency import called
from offhook.core.calls import Call, caller
from offhook.core.messages import Reply, Send, StatusUpdate
from offhook.core.responses import REFUSED, Fault
from offhook.errors import ConfigurationError, OffhookError
from offhook.events import Observer, Problem, Topic, fan_out
from offhook.observe.log import LogObserver
from offhook.settings import Settings
from offhook.stores import store_of
from offhook.stores.api import Store
from offhook.stores.on_demand import StoreOnDemand
from offhook.web.asgi import respond
from offhook.worker.current_account import CURRENT_ACCOUNT
from offhook.worker.handlers import Handlers, OnRetry
from offhook.worker.message import Message
from offhook.worker.owner import owner_name
from offhook.worker.send_requests import RequestWriter, delay_of

# The ingress and the worker are imported when they start: a process of `offhook run` has one of
# them, or none, and their imports take a third of its start.
if TYPE_CHECKING:
    from offhook.ingress.direct import Webhooks
    from offhook.running_app import RunningApp

Where = Literal["inline", "external"]
F = TypeVar("F", bound=Callable[..., Any])


class Offhook:
    """Answer Twilio's webhooks, and handle them in the background.

    This is an ASGI application: `offhook dev bot:app`, `offhook run bot:app`, `uvicorn bot:app`, or
    mounted in FastAPI or Starlette. A mounted application gets no lifespan events from its host:
    start it in the host's lifespan (`async with app.lifespan():`), or the first request starts it.

    Args:
        worker: `inline` runs handlers in the process that answers webhooks; a handler that blocks
            then delays webhooks. `external` leaves them to separate worker processes.
        observers: called with every `offhook.events.Event`, in addition to the log.
        settings: any setting by its name, e.g. `store="sqlite:///bot.db"`; takes precedence over
            the environment and `.env`.

    Example::

        app = Offhook()


        @app.message()
        async def answer(message: Message) -> str:
            return f"You said: {message.body}"
    """

    def __init__(
        self,
        *,
        worker: Where = "inline",
        observers: Sequence[Observer] = (),
        **settings: Any,
    ) -> None:
        if worker not in {"inline", "external"}:
            raise ConfigurationError(f'worker is "inline" or "external", not {worker!r}')
        self.handlers = Handlers()
        self._worker: Where = worker
        self._create_store = True
        self._given = settings
        self._settings: Settings | None = None
        self._observer = fan_out(LogObserver(), *observers)
        self._starting = asyncio.Lock()
        self._running: RunningApp | None = None
        # A store that is not there is not made by what only sends: it may be looked for elsewhere.
        self._stores = StoreOnDemand(lambda: store_of(self.settings, create=False))

    @property
    def settings(self) -> Settings:
        """The settings, read on first access.

        Raises:
            SettingsError: a setting is missing or invalid.
        """
        if self._settings is None:
            self._settings = Settings.load(**self._given)
        return self._settings

    def configure(
        self,
        *,
        worker: Where | None = None,
        create_store: bool | None = None,
        **settings: Any,
    ) -> None:
        """Override settings before the app is started.

        Args:
            worker: as for `Offhook`; None for no change.
            create_store: whether to create a missing SQLite store, which is the default. False if
                the store is known to have existed; None for no change.
            settings: any setting by its name.

        Raises:
            ConfigurationError: the app is already running.
        """
        if self._running is not None:
            raise ConfigurationError("the app runs already: configure it before")
        self._worker = worker or self._worker
        if create_store is not None:
            self._create_store = create_store
        self._given = {**self._given, **settings}
        self._settings = None

    def observe(self, observer: Observer) -> None:
        """Add an observer, which is called with every event from the next start on."""
        self._observer = fan_out(self._observer, observer)

    @overload
    def message(self, _handler: F, /) -> F: ...

    @overload
    def message(
        self,
        /,
        *,
        channel: str | None = None,
        state: Mapping[str, Any] | None = None,
        where: Callable[[Message], object] | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
        on_retry: OnRetry = "hold",
    ) -> Callable[[F], F]: ...

    def message(
        self,
        _handler: F | None = None,
        /,
        *,
        channel: str | None = None,
        state: Mapping[str, Any] | None = None,
        where: Callable[[Message], object] | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
        on_retry: OnRetry = "hold",
    ) -> F | Callable[[F], F]:
        """Handle inbound messages. Of several handlers, the first one that matches is run.

        Args:
            channel: `sms`, `whatsapp`, ...; None for all.
            state: values that `message.conversation.state` must have, such as `{"step": "age"}`;
                None matches a name that is not there, too.
            where: a fast predicate on the message.
            timeout: seconds for one attempt; None for `OFFHOOK_HANDLER_TIMEOUT`.
            max_attempts: attempts until the message is dead; None for `OFFHOOK_MAX_ATTEMPTS`.
            on_retry: `hold` keeps the conversation in order while a message waits for its next
                attempt; `skip` lets later messages overtake it.

        Raises:
            HandlerError: the parameters of the handler are not supported.
        """

        def register(function: F) -> F:
            self.handlers.add_message(
                function,
                channel=channel,
                state=state,
                where=where,
                timeout=timeout,
                max_attempts=max_attempts,
                on_retry=on_retry,
            )
            return function

        return register if _handler is None else register(_handler)

    @overload
    def status(self, _handler: F, /) -> F: ...

    @overload
    def status(
        self,
        /,
        *,
        where: Callable[[StatusUpdate], object] | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
    ) -> Callable[[F], F]: ...

    def status(
        self,
        _handler: F | None = None,
        /,
        *,
        where: Callable[[StatusUpdate], object] | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
    ) -> F | Callable[[F], F]:
        """Handle statuses of sent messages. Arguments as for `message`.

        What the handler returns is sent to the person, as by `send`, once however often it is run.

        Raises:
            HandlerError: the parameters of the handler are not supported.
        """

        def register(function: F) -> F:
            self.handlers.add_status(
                function, where=where, timeout=timeout, max_attempts=max_attempts
            )
            return function

        return register if _handler is None else register(_handler)

    @overload
    def opt_out(self, _handler: F, /) -> F: ...

    @overload
    def opt_out(
        self,
        /,
        *,
        channel: str | None = None,
        where: Callable[[Message], object] | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
    ) -> Callable[[F], F]: ...

    def opt_out(
        self,
        _handler: F | None = None,
        /,
        *,
        channel: str | None = None,
        where: Callable[[Message], object] | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
    ) -> F | Callable[[F], F]:
        """Handle STOP, and START and HELP if Twilio answers them. Arguments as for `message`.

        Raises:
            HandlerError: the parameters of the handler are not supported.
        """

        def register(function: F) -> F:
            self.handlers.add_opt_out(
                function, channel=channel, where=where, timeout=timeout, max_attempts=max_attempts
            )
            return function

        return register if _handler is None else register(_handler)

    def send(
        self,
        to: str,
        body: str | Reply,
        *,
        key: str | None = None,
        at: datetime | timedelta | None = None,
        from_: str = "",
        unless_reply: bool = False,
        account: str = "",
    ) -> Call[Send]:
        """Send a message that answers none: from a handler, a web application, a cron job.

        Await it. Where no event loop runs, as in a `def` handler or a script, call it without
        `await`. When it returns, the message is on disk, and a worker will send it. It need not be
        called where a worker runs: it opens the store if nothing in this process has.

        Args:
            to: the recipient, an E.164 number or `whatsapp:+...`.
            body: the text, or a `Reply`.
            key: identifies the message: a repeated call with the same key sends nothing. Without
                a key, every call sends.
            at: when to send it, up to a year ahead: a `datetime` with a time zone, or a `timedelta`
                from now. A moment in the past is now.
            from_: the number it comes from, or a Messaging Service SID. By default it is
                `OFFHOOK_SENDER`, or else the number that this person last wrote to.
            unless_reply: do not send it if the person writes first.
            account: the SID of the account that sends it. By default, in a handler, it is that of
                the message or status, and elsewhere `TWILIO_ACCOUNT_SID`.

        Returns:
            The entry in the ledger, with `repeated` set if the key was known. For a long text that
            is sent as several messages, the last of them.

        Raises:
            InvalidReply: there is nothing to send, or Twilio would refuse it.
            InvalidSend: it has no number to come from, or its time or account is not usable.
            SettingsError: `TWILIO_ACCOUNT_SID` is missing.
            StoreError: it cannot be written. It may have been, if the store's answer was lost: with
                a key, try again.
        """
        delay = delay_of(at, datetime.now(UTC))
        reply = body if isinstance(body, Reply) else Reply(body)
        account = account or CURRENT_ACCOUNT.get()

        async def write(store: Store) -> Send:
            writer = RequestWriter(store, self.settings, self._observer)
            return await writer.write(
                to,
                reply,
                key=key,
                delay=delay,
                from_=from_,
                unless_reply=unless_reply,
                account=account,
            )

        self.settings.require("account_sid")
        return called(self._stores.call(write), self._stores.loop, "Offhook.send", caller())

    def credentials(self, function: F) -> F:
        """Look up the credentials of other accounts; use it as `@app.credentials`.

        The function is `async def`. It receives an account SID that may not have been verified yet.
        Of a separate account it returns `AccountCredentials`, with which its replies are sent; of a
        subaccount, for which the account in the settings sends, the auth token or several (while
        one is being rotated); of an unknown account None. The result is cached in memory for 5
        minutes. It is not called for the account in `TWILIO_ACCOUNT_SID`, which has the credentials
        in the settings.

        If it fails, or takes longer than `OFFHOOK_SIGNATURE_TIMEOUT`, while a webhook is verified,
        `OFFHOOK_ON_SIGNATURE_TIMEOUT` applies. If it fails, takes longer than 2 seconds or returns
        None while a reply of the account is to be sent, the reply waits.

        Raises:
            HandlerError: it is not async, or there is one already.
        """
        self.handlers.set_credentials(function)
        return function

    async def __call__(self, scope: Scope, receive: Receive, send: SendEvent) -> None:
        """Serve ASGI."""
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
            return
        running = self._running
        if running is None:
            try:
                running = await self._start()
            except OffhookError as error:
                self._observer(Problem(Topic.NOT_STARTED, str(error)))
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1000})  # as ever
                else:
                    await respond(send, REFUSED[Fault.STORE_UNAVAILABLE])
                return
        await running.ingress.asgi(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncIterator[None]:
        """Start on entry, drain and stop on exit. Use it as `lifespan=` of Starlette or FastAPI.

        Raises:
            SettingsError: a setting is missing or invalid.
            StoreError: the store cannot be used.
        """
        await self._start()
        try:
            yield
        finally:
            await self._stop()

    async def work(
        self,
        stop: asyncio.Event,
        *,
        owner: str = "",
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        """Run a worker until `stop` is set, then drain.

        Args:
            stop: ends the worker when it is set.
            owner: the name of this process in leases.
            on_ready: called once the store is open and the worker has claimed from it.

        Raises:
            SettingsError: a setting is missing or invalid.
            StoreBroken: the file of the store is missing, replaced or damaged.
            StoreError: the store cannot be used.
        """
        from offhook.worker.role import WorkerRole  # noqa: PLC0415 - see above

        role = WorkerRole(
            self.settings,
            self.handlers,
            self._observer,
            owner=owner or owner_name(),
            create_store=self._create_store,
            on_ready=on_ready or (lambda: None),
            lend=self._stores.lend,
        )
        await role.run(stop)

    async def _start(self) -> "RunningApp":
        from offhook.running_app import RunningApp  # noqa: PLC0415 - see above

        async with self._starting:
            if self._running is None:
                running = RunningApp(
                    self.settings,
                    self.handlers,
                    self._observer,
                    inline_worker=self._worker == "inline",
                    create_store=self._create_store,
                    lend=self._stores.lend,
                )
                await running.start()
                self._running = running
            return self._running

    async def _stop(self) -> None:
        async with self._starting:
            if self._running is not None:
                await self._running.stop()
                self._running = None

    async def _serve_lifespan(self, receive: Receive, send: SendEvent) -> None:
        await receive()
        try:
            await self._start()
        except OffhookError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})


def webhooks_of(app: Offhook) -> "Webhooks | None":
    """Return what answers an app's webhooks without ASGI; None before the app is started."""
    running = app._running  # noqa: SLF001 - for servers of offhook's, no part of what users see
    return None if running is None else running.ingress.webhooks
