"""What uvicorn does to forwarding headers by itself, and what it takes not to be confused by it."""

import asyncio
import socket
from pathlib import Path

import pytest
import uvicorn

from offhook import Offhook
from offhook.core.signature import sign
from testing.webhooks import (
    ACCOUNT,
    FORM,
    MESSAGE,
    TOKEN,
    Reply,
    encoded,
    read_reply,
    request,
)

CALLED = "https://bot.example.com/twilio/messages"


@pytest.mark.parametrize(
    ("proxy_headers", "public_url", "status"),
    [
        # The peer is then whom X-Forwarded-For names, and not a trusted proxy.
        (True, "", 403),
        (False, "", 200),
        (True, "https://bot.example.com", 200),
        (False, "https://bot.example.com", 200),
    ],
)
async def test_a_bot_behind_a_proxy_and_plain_uvicorn(
    tmp_path: Path, proxy_headers: bool, public_url: str, status: int
) -> None:
    app = Offhook(
        worker="external",
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        public_url=public_url,
        trusted_proxies="127.0.0.1",
        allowed_hosts="bot.example.com",
        store=f"sqlite:///{tmp_path}/offhook.db",
    )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, proxy_headers=proxy_headers, log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            assert (await post(listener.getsockname()[1])).status == status
        finally:
            server.should_exit = True
            await serving


async def post(port: int) -> Reply:
    headers = {
        "Host": "upstream.internal",
        "X-Forwarded-For": "198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "bot.example.com",
        "Content-Type": FORM,
        "X-Twilio-Signature": sign(url=CALLED, params=MESSAGE, auth_token=TOKEN),
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("POST", "/twilio/messages", encoded(MESSAGE), headers))
    try:
        return await read_reply(reader)
    finally:
        writer.close()
