"""Which versions of HTTP are served, by the names that servers give them in ASGI."""

import pytest
from starlette.types import Message

from offhook.web.health import Health
from offhook.web.router import Router
from offhook.web.strict_http import StrictHttp


@pytest.mark.parametrize(
    ("version", "status"),
    [("1.1", 200), ("1.0", 200), ("1", 200), ("2", 200), ("3", 200), ("0.9", 505), ("2.0", 505)],
)
async def test_a_version_is_served_if_it_is_spoken(version: str, status: int) -> None:
    """nginx calls a backend in HTTP/1.0 unless it is told otherwise, which Granian names `1`."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {
        "type": "http", "http_version": version, "method": "GET", "path": "/healthz",
        "raw_path": b"/healthz", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"bot.example.com")],
    }  # fmt: skip
    await StrictHttp(Router({"/healthz": Health()}))(scope, receive, send)
    assert sent[0]["status"] == status
