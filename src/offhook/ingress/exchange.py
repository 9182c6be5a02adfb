"""A request on a connection, and its answer by the ASGI application."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

from starlette.types import Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from offhook.core.responses import Fault
from offhook.ingress.transport import CoalescingTransport

_log = logging.getLogger("uvicorn.error")
_access_log = logging.getLogger("uvicorn.access")


class Refusal(Exception):  # noqa: N818 - ends the parsing, and is always caught
    """A request can't be read, or exceeds a limit."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Exchange(Protocol):
    """A request and its answer.

    Attributes:
        keep_alive: whether the connection goes on after the answer; may be set until that begins.
        body_timeout: seconds for the body; None if something else limits them.
    """

    keep_alive: bool
    body_timeout: float | None

    @property
    def begun(self) -> bool:
        """Whether a part of the answer has been written."""
        ...

    def start(self) -> None:
        """Answer, now that all earlier requests have been answered. The body may be incomplete."""
        ...

    def feed(self, data: bytes) -> None:
        """Take a part of the body.

        Raises:
            Refusal: it is too large.
        """
        ...

    def end(self) -> None:
        """Note that the body is complete."""
        ...

    def abandon(self, fault: Fault) -> None:
        """Write nothing any more: the client has gone, or is given another answer."""
        ...


class AsgiExchange:
    """A request that the ASGI application answers, in a task.

    uvicorn's own `RequestResponseCycle` speaks ASGI with it.

    Args:
        scope: of the request.
        app: the application.
        server: uvicorn's, which waits for the tasks at shutdown.
        transport: of the connection.
        flow: of the connection; pauses the reading when the application does not keep up.
        keep_alive: see `Exchange`.
        ended: called when the answer is complete.
    """

    body_timeout: float | None = None

    def __init__(
        self,
        scope: Scope,
        app: Any,
        server: ServerState,
        transport: CoalescingTransport,
        flow: FlowControl,
        *,
        keep_alive: bool,
        ended: Callable[[], None],
    ) -> None:
        self._app = app
        self._flow = flow
        self._tasks = server.tasks
        self._cycle = RequestResponseCycle(
            scope=cast("Any", scope),
            transport=cast("Any", transport),
            flow=flow,
            logger=_log,
            access_logger=_access_log,
            access_log=False,  # a GET carries the message in its URL
            default_headers=server.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=any(
                name == b"expect" and value.lower() == b"100-continue"
                for name, value in scope["headers"]
            ),
            keep_alive=keep_alive,
            on_response=ended,
        )

    @property
    def keep_alive(self) -> bool:
        """See `Exchange`."""
        return self._cycle.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._cycle.keep_alive = value

    @property
    def begun(self) -> bool:
        """See `Exchange`."""
        return self._cycle.response_started

    def start(self) -> None:
        """See `Exchange`."""
        task = asyncio.get_running_loop().create_task(self._cycle.run_asgi(self._app))
        task.add_done_callback(self._tasks.discard)
        self._tasks.add(task)

    def feed(self, data: bytes) -> None:
        """See `Exchange`."""
        self._cycle.body += data
        if len(self._cycle.body) > HIGH_WATER_LIMIT:
            self._flow.pause_reading()
        self._cycle.message_event.set()

    def end(self) -> None:
        """See `Exchange`."""
        self._cycle.more_body = False
        self._cycle.message_event.set()

    def abandon(self, fault: Fault) -> None:  # noqa: ARG002 - the application sees a disconnect
        """See `Exchange`."""
        if not self._cycle.response_complete:
            self._cycle.disconnected = True
        self._cycle.message_event.set()
