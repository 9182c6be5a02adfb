"""Nothing that a client can send is stored unless it is Twilio's, and all of it has an answer."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from offhook.core.signature import sign, with_body_sha256
from testing.webhooks import (
    FORM,
    MESSAGE,
    PUBLIC,
    SID,
    STATUS,
    TOKEN,
    TWIML,
    Fields,
    Line,
    Reply,
    Shell,
    changed,
    encoded,
    line,
    named,
    read_reply,
    refused,
    request,
)

URL = PUBLIC + "/twilio/messages"
Send = Callable[[Line], Awaitable[Reply]]


def raw(body: bytes, *, method: str = "POST", **headers: str) -> Send:
    """Return the sending of a body with a signature that would do for an empty form."""
    given = {"Content-Type": FORM, "X-Twilio-Signature": sign(url=URL, auth_token=TOKEN)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda to: to.exchange(request(method, "/twilio/messages", body, given | named))


def unsigned(to: Line) -> Awaitable[Reply]:
    return to.exchange(
        request("POST", "/twilio/messages", encoded(MESSAGE), {"Content-Type": FORM})
    )


def without(name: str, fields: Fields = MESSAGE, target: str = "/twilio/messages") -> Send:
    return lambda to: to.post(target, changed(fields, **{name: None}))


def no_sid(value: str | None) -> Send:
    fields = named(MESSAGE, value)
    return lambda to: to.post(fields=fields)


def no_status(to: Line) -> Awaitable[Reply]:
    return to.post("/twilio/status", changed(STATUS, MessageStatus=None, SmsStatus=None))


def signed_json(to: Line) -> Awaitable[Reply]:
    body = json.dumps(dict(MESSAGE)).encode()
    url = with_body_sha256(URL, body)
    headers = {
        "Content-Type": "application/json",
        "X-Twilio-Signature": sign(url=url, auth_token=TOKEN),
    }
    return to.exchange(request("POST", url.removeprefix(PUBLIC), body, headers))


def unsigned_get(to: Line) -> Awaitable[Reply]:
    return to.exchange(request("GET", f"/twilio/messages?{encoded(MESSAGE).decode()}", b"", {}))


def get_with_changed_query(to: Line) -> Awaitable[Reply]:
    query = encoded(MESSAGE).decode()
    headers = {"X-Twilio-Signature": sign(url=f"{URL}?{query}", auth_token=TOKEN)}
    return to.exchange(request("GET", f"/twilio/messages?{query}&Body=more", b"", headers))


def undecodable_query(to: Line) -> Awaitable[Reply]:
    return to.post("/twilio/messages?send=%GG")


def other_parameters(to: Line) -> Awaitable[Reply]:
    return to.post(signed=changed(MESSAGE, Body="something else"))


def other_url(to: Line) -> Awaitable[Reply]:
    return to.post(url="https://elsewhere.example.com/other/path")


def dropped_query(to: Line) -> Awaitable[Reply]:
    return to.post(url=URL + "?bot=1")


def declared_too_large(to: Line) -> Awaitable[Reply]:
    return to.post(fields=changed(MESSAGE, Body="x" * 70_000))


def chunked(body: bytes) -> bytes:
    lines = ["POST /twilio/messages HTTP/1.1", "Host: a", f"Content-Type: {FORM}"]
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
    pieces = [body[at : at + 8000] for at in range(0, len(body), 8000)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in [*pieces, b""])


def chunked_too_large(to: Line) -> Awaitable[Reply]:
    return to.exchange(chunked(b"Body=" + b"x" * 70_000))


BAD: list[tuple[str, Send, int, str]] = [
    ("no signature", unsigned, 403, "missing-signature"),
    ("no signature on a GET", unsigned_get, 403, "missing-signature"),
    ("an empty signature", raw(b"", X_Twilio_Signature=""), 403, "missing-signature"),
    (
        "a wrong signature",
        raw(encoded(MESSAGE), X_Twilio_Signature="AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        403,
        "signature-mismatch",
    ),
    (
        "a signature that is not ASCII",
        raw(encoded(MESSAGE), X_Twilio_Signature="Üñ"),
        403,
        "signature-mismatch",
    ),
    ("a signature for other parameters", other_parameters, 403, "signature-mismatch"),
    ("a signature for another URL", other_url, 403, "signature-mismatch"),
    ("a signature for a URL with a query", dropped_query, 403, "signature-mismatch"),
    ("a GET with a parameter more", get_with_changed_query, 403, "signature-mismatch"),
    ("a declared body beyond the limit", declared_too_large, 413, "body-too-large"),
    ("a chunked body beyond the limit", chunked_too_large, 413, "body-too-large"),
    ("an escape cut short", raw(b"MessageSid=SM1&Body=%4"), 400, "malformed-form"),
    ("an escape that is none", raw(b"Body=100%ZZ"), 400, "malformed-form"),
    ("an escape that is none in a query", undecodable_query, 400, "malformed-form"),
    ("bytes that are not UTF-8", raw(b"Body=\xff\xfe"), 400, "not-utf8"),
    ("escapes that are not UTF-8", raw(b"Body=%ff%fe"), 400, "not-utf8"),
    ("10,000 parameters", raw(b"&".join([b"a=1"] * 10_000)), 400, "too-many-fields"),
    ("no MessageSid", no_sid(None), 400, "missing-message-sid"),
    ("an empty MessageSid", no_sid(""), 400, "missing-message-sid"),
    ("an empty form", raw(b""), 400, "missing-message-sid"),
    ("no AccountSid", without("AccountSid"), 400, "missing-account-sid"),
    ("no From", without("From"), 400, "missing-from"),
    ("no To", without("To"), 400, "missing-to"),
    ("no MessageStatus", no_status, 400, "missing-message-status"),
    ("signed JSON", signed_json, 415, "json-body"),
    (
        "unsigned JSON",
        raw(b"{}", Content_Type="application/json"),
        415,
        "unsupported-content-type",
    ),
    ("text", raw(b"hello", Content_Type="text/plain"), 415, "unsupported-content-type"),
    ("a multipart form", raw(b"--a--", Content_Type="multipart/form-data; boundary=a"), 415,
     "unsupported-content-type"),
    ("a body of no type", raw(b"hello", Content_Type=""), 415, "unsupported-content-type"),
    ("PUT", raw(encoded(MESSAGE), method="PUT"), 405, "method-not-allowed"),
    ("DELETE", raw(b"", method="DELETE"), 405, "method-not-allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("send", "status", "error"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_bad_input_is_refused_by_name_and_the_next_request_is_answered(
    tmp_path: Path, shell: Shell, send: Send, status: int, error: str
) -> None:
    async with line(tmp_path, shell=shell) as running:
        await refused(running, send(running), status, error)


async def test_a_body_too_large_is_answered_before_it_has_been_sent(
    tmp_path: Path, shell: Shell
) -> None:
    async with line(tmp_path, shell=shell) as running, running.connection() as (reader, writer):
        headers = {"Content-Type": FORM, "Content-Length": "10000000"}
        writer.write(request("POST", "/twilio/messages", b"Body=", headers))
        got = await asyncio.wait_for(reader.readuntil(TWIML), 60)
        assert b" 413 " in got
        assert b"connection: close" in got
        writer.write_eof()  # we have seen it, and give up sending
        assert await asyncio.wait_for(reader.read(), 60) == b""
        assert (await running.answered()).error == "body-too-large"


async def test_a_client_that_sends_it_all_first_still_reads_why_it_was_too_large(
    tmp_path: Path, shell: Shell
) -> None:
    async with line(tmp_path, shell=shell) as running:
        reply = await running.post(fields=changed(MESSAGE, Body="x" * 900_000))
        assert (reply.status, reply.error) == (413, "body-too-large")
        assert reply.closed


async def test_a_body_as_large_as_the_limit_is_stored(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell, body_limit=2048) as running:
        room = 2048 - len(encoded(changed(MESSAGE, Body="")))
        fits, exceeds = (changed(MESSAGE, Body="x" * size) for size in (room, room + 1))
        assert (await running.post(fields=exceeds)).status == 413
        assert (await running.post(fields=fits)).status == 200
        (record,) = await running.stored()
        assert record.form == encoded(fits)


async def test_a_body_cut_short_is_told_and_not_stored(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell) as running:
        async with running.connection() as (_, writer):
            headers = {"Content-Type": FORM, "Content-Length": "500"}
            writer.write(request("POST", "/twilio/messages", b"MessageSid=SM1&Bo", headers))
            await writer.drain()
        told = await running.answered()
        assert (told.status, told.error) == (499, "client-gone")
        assert await running.stored() == []
        assert (await running.post()).status == 200


async def test_a_body_that_dribbles_in_ends_after_its_time(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell, body_timeout=0.3) as running:
        async with running.connection() as (reader, writer):
            headers = {"Content-Type": FORM, "Content-Length": "500"}
            writer.write(request("POST", "/twilio/messages", b"", headers))
            reply = asyncio.create_task(read_reply(reader))
            while not reply.done():
                writer.write(b"x")
                await asyncio.wait(
                    {reply}, timeout=0.2
                )  # a byte after the end resets the connection
            assert ((await reply).status, (await reply).error) == (408, "body-timeout")
            assert (await reply).closed
        told = await running.answered()
        assert told.error == "body-timeout"
        assert told.total >= 0.25  # uvloop's clock stands still within one pass of the loop
        assert await running.stored() == []
        assert (await running.post()).status == 200


async def test_a_known_message_with_another_body_is_a_repeat(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell) as running:
        first = await running.post()
        again = await running.post(fields=changed(MESSAGE, Body="another text"))
        assert (first.status, again.status) == (200, 200)
        assert [(await running.answered()).repeat for _ in range(2)] == [False, True]
        (record,) = await running.stored()
        assert record.form == encoded(MESSAGE)


async def test_twilios_fallback_request_is_a_repeat(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell) as running:
        await running.post()
        fallback = changed(MESSAGE, ErrorCode="11200", ErrorUrl=URL)
        reply = await running.post(fields=fallback)
        assert (reply.status, reply.body) == (200, TWIML)
        assert [record.sid for record in await running.stored()] == [SID]


async def test_a_closed_store_is_answered_503(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell) as running:
        await running.store.close()
        reply = await running.post()
        assert (reply.status, reply.error, reply.body) == (503, "store-unavailable", TWIML)
        told = await running.answered()
        assert (told.error, told.sid) == ("store-unavailable", SID)
        assert told.detail


async def test_a_database_locked_by_a_stranger_is_answered_503_until_it_is_free(
    tmp_path: Path, shell: Shell
) -> None:
    async with line(tmp_path, shell=shell) as running:
        stranger = sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        reply = await running.post()
        assert (reply.status, reply.error) == (503, "store-unavailable")
        stranger.execute("ROLLBACK")
        stranger.close()
        assert (await running.post()).status == 200
        assert len(await running.stored()) == 1


async def test_a_store_that_does_not_answer_in_time_is_answered_503(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.stores.sqlite.writer.BUSY_TIMEOUT", 60.0)  # nor does it give up

    async with line(tmp_path, shell=shell, enqueue_timeout=0.2) as running:
        stranger = sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        reply = await running.post()
        stranger.execute("ROLLBACK")
        stranger.close()
        assert (reply.status, reply.error) == (503, "store-timeout")
        told = await running.answered()
        assert told.error == "store-timeout"
        assert told.enqueue >= 0.15  # see above
        # Of Twilio's repeats, for which the store is too slow again on a busy machine, one is
        # stored, whatever became of the first.
        async with asyncio.timeout(60):
            while (reply := await running.post()).error == "store-timeout":
                pass
        assert reply.status == 200
        assert len(await running.stored()) == 1
