"""A message's file is fetched from Twilio as a whole or not at all; credentials go nowhere else."""

import asyncio
import base64
import os
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offhook import http_session
from offhook.core.account import AccountCredentials
from offhook.core.messages import Attachment
from offhook.errors import (
    MediaDenied,
    MediaError,
    MediaGone,
    MediaNotAllowed,
    MediaTooLarge,
    MediaUnavailable,
)
from offhook.ingress.credentials import REFRESH_AFTER
from offhook.ingress.credentials import Credentials as AccountLogins
from offhook.ports import Logins
from offhook.settings import Settings
from offhook.twilio.media import MediaClient
from offhook.twilio.simulator import Credentials, File, Simulator, Trouble
from offhook.twilio.simulator.serving import serving
from testing.certificate import certificate
from testing.twilio.helpers import Webhook, answering, http, raw_server, webhook_of
from tests.twilio.test_connections import tunnel

CONTENT = os.urandom(200_000)
MOST = 1_000_000
ACCOUNT = Simulator.credentials()
PATH = f"/2010-04-01/Accounts/{ACCOUNT.account_sid}/Messages/MM{'1' * 32}/Media/ME{'2' * 32}"
SECRET = base64.b64encode(":".join(ACCOUNT).encode())


@asynccontextmanager
async def client_of(
    api: str, login: Credentials = ACCOUNT, logins: Logins | None = None
) -> AsyncIterator[MediaClient]:
    settings = Settings.load(env_file=None, twilio_api=api, **login._asdict())
    client = MediaClient(settings, logins, pauses=(0.0, 0.0))
    try:
        async with asyncio.timeout(60):
            yield client
    finally:
        await client.close()


@asynccontextmanager
async def received(
    content: bytes = CONTENT, trouble: Trouble | None = None, **login: str
) -> AsyncIterator[tuple[MediaClient, Attachment]]:
    """Let a simulator keep a file that a person has sent; yield a client, and where it is."""
    async with (
        Simulator(**ACCOUNT._asdict(), trouble=trouble) as simulator,
        simulator.serve() as api,
        webhook_of(simulator),
        client_of(api, ACCOUNT._replace(**login)) as client,
    ):
        (medium,) = (await simulator.text(media=[File(content)])).media
        yield client, medium


@asynccontextmanager
async def recording(
    *answers: tuple[int, bytes], **headers: str
) -> AsyncIterator[tuple[str, Webhook]]:
    """Serve what records requests and gives these answers."""
    server = Webhook([(status, "image/jpeg", body) for status, body in answers], headers)
    async with serving(server, host="127.0.0.1", port=0) as base:
        yield base, server


async def get(client: MediaClient, url: str, most: int = MOST) -> bytes:
    return await client.fetch(url, ACCOUNT.account_sid, most)


async def test_a_file_is_fetched_through_the_redirect_to_storage() -> None:
    async with received() as (client, medium):
        assert medium.content_type == "image/jpeg"
        assert await get(client, medium.url) == CONTENT


async def test_a_file_that_comes_late_is_asked_for_again() -> None:
    async with received(trouble=Trouble(media_missing=2)) as (client, medium):
        assert await get(client, medium.url) == CONTENT
    async with received(trouble=Trouble(media_missing=3)) as (client, medium):
        with pytest.raises(MediaGone, match="deleted"):
            await get(client, medium.url)


async def test_wrong_credentials_are_named() -> None:
    async with received(auth_token=Simulator.credentials().auth_token) as (client, medium):
        with pytest.raises(MediaDenied, match="TWILIO_AUTH_TOKEN"):
            await get(client, medium.url)
        with pytest.raises(MediaDenied, match="TWILIO_AUTH_TOKEN"):
            await client.delete(medium.url, ACCOUNT.account_sid)


async def test_credentials_that_twilio_refuses_are_asked_for_again() -> None:
    tokens, now = ["replaced", ACCOUNT.auth_token], 0.0

    async def lookup(_account_sid: str) -> AccountCredentials:
        return AccountCredentials(tokens.pop(0))

    logins = AccountLogins(Settings(), lookup, print, clock=lambda: now)
    async with (
        Simulator(**ACCOUNT._asdict()) as simulator,
        simulator.serve() as api,
        webhook_of(simulator),
        client_of(api, logins=logins) as client,
    ):
        (medium,) = (await simulator.text(media=[File(CONTENT)])).media
        with pytest.raises(MediaDenied, match="credentials"):
            await get(client, medium.url)
        now = REFRESH_AFTER
        assert await get(client, medium.url) == CONTENT


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_credentials_go_to_twilio_and_not_over_its_redirects(status: int) -> None:
    async with recording((200, CONTENT)) as (storage, stored):
        location = f"{storage}/signed?key=a%2Fb%20c"
        async with (
            recording((status, b""), Location=location) as (api, twilio),
            client_of(api) as client,
        ):
            assert await get(client, api + PATH) == CONTENT
    assert twilio.requests[0].headers["authorization"].encode() == b"Basic " + SECRET
    assert stored.requests[0].target == "/signed?key=a%2Fb%20c"
    assert "authorization" not in stored.requests[0].headers


async def test_a_redirect_back_to_twilio_gets_no_credentials_either() -> None:
    async with (
        recording((302, b""), Location="/2010-04-01/elsewhere") as (api, twilio),
        client_of(api) as client,
    ):
        with pytest.raises(MediaUnavailable, match="redirects"):
            await get(client, api + PATH)
    first, *others = twilio.requests
    assert "authorization" in first.headers
    assert others
    assert not [one for one in others if "authorization" in one.headers]


@pytest.mark.parametrize("location", ["http://example.com/x", "ftp://example.com/x", "file:///x"])
async def test_what_was_encrypted_is_not_continued_in_the_open(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path, "api.twilio.com")
    trusting = ssl.create_default_context(cafile=pem)
    monkeypatch.setattr(http_session, "_authorities", lambda: trusting)
    answer = http(302, b"", f"Location: {location}")
    async with tunnel(pem, lambda writer: writer.write(answer)) as (proxy, heads):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        async with client_of("https://api.twilio.com") as client:
            with pytest.raises(MediaNotAllowed, match="https"):
                await get(client, f"https://api.twilio.com{PATH}")
    (head,) = heads
    assert b"Basic " + SECRET in head


FOREIGN = [
    "{api}.evil.example" + PATH,
    "{api}@evil.example" + PATH,
    "http://evil.example/{api}" + PATH,
    "{other_port}" + PATH,
    "{other_scheme}" + PATH,
    "{upper}" + PATH,
    "{api}" + PATH.replace(ACCOUNT.account_sid, "AC" + "9" * 32),
]


@pytest.mark.parametrize("url", FOREIGN)
async def test_another_host_port_scheme_or_account_is_not_even_called(url: str) -> None:
    async with recording((200, CONTENT)) as (api, twilio), recording((200, b"")) as (other, others):
        places = {
            "api": api,
            "other_port": other,
            "other_scheme": api.replace("http:", "https:"),
            "upper": api.replace("http:", "HTTP:").replace("127", "localhost.127"),
        }
        async with client_of(api) as client:
            for call in (get, delete):
                with pytest.raises(MediaNotAllowed, match="no credentials were sent"):
                    await call(client, url.format(**places))
        assert twilio.requests == others.requests == []


async def delete(client: MediaClient, url: str) -> None:
    await client.delete(url, ACCOUNT.account_sid)


@pytest.mark.parametrize(
    "url",
    [
        f"http://api.twilio.com{PATH}",
        f"https://api.twilio.com:8443{PATH}",
        f"https://api.twilio.com/{PATH}",
        f"https://api.twilio.com{PATH}/../../../../Messages",
        f"https://api.twilio.com{PATH}?x=1",
        f"https://api.twilio.com{PATH}\n",
        "https://api.twilio.com/2010-04-01/Accounts.json",
        "https://media.twiliocdn.com/x",
        "",
    ],
)
@pytest.mark.parametrize("api", ["https://api.twilio.com", "https://api.dublin.ie1.twilio.com"])
async def test_with_the_real_twilio_nothing_but_files_of_the_account_is_asked_for(
    api: str, url: str
) -> None:
    async with client_of(api) as client:
        with pytest.raises(MediaNotAllowed):
            await client._place(url, ACCOUNT.account_sid)
        place = await client._place(f"https://api.twilio.com{PATH}", ACCOUNT.account_sid)
        assert place.headers


async def test_the_phones_own_files_are_fetched_without_credentials() -> None:
    async with recording((200, CONTENT)) as (api, dev), client_of(api) as client:
        assert await get(client, f"{api}/phone/media/key/cat.jpg") == CONTENT
        await delete(client, f"{api}/phone/media/key/cat.jpg")
    (request,) = dev.requests
    assert "authorization" not in request.headers


async def test_an_endless_file_is_given_up_where_it_is_too_large(tmp_path: Path) -> None:
    async with received(trouble=Trouble(endless_media=True)) as (client, medium):
        with pytest.raises(MediaTooLarge, match="1,000,000 bytes: give a larger max_bytes"):
            await get(client, medium.url)
        with pytest.raises(MediaTooLarge):
            await client.save(medium.url, ACCOUNT.account_sid, tmp_path / "cat.jpg", MOST)
    assert list(tmp_path.iterdir()) == []


async def test_a_file_may_have_as_many_bytes_as_were_allowed_and_not_one_more() -> None:
    async with received() as (client, medium):
        assert await get(client, medium.url, len(CONTENT)) == CONTENT
        with pytest.raises(MediaTooLarge):
            await get(client, medium.url, len(CONTENT) - 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http(500, b"{}"), MediaUnavailable),
        (http(429, b"{}"), MediaUnavailable),
        (http(410, b"{}"), MediaGone),
        (http(302, b"", "Location: http://[bad"), MediaError),
        (http(302, b""), MediaError),
        (http(200, CONTENT)[:-1], MediaUnavailable),
        (b"", MediaUnavailable),
        (b"SSH-2.0-x\r\n\r\n", MediaUnavailable),
    ],
)
async def test_whatever_is_answered_there_is_a_whole_file_or_a_clear_error(
    tmp_path: Path, answer: bytes, error: type[MediaError]
) -> None:
    async with raw_server(answering(answer)) as api, client_of(api) as client:
        with pytest.raises(error):
            await get(client, api + PATH)
        with pytest.raises(error):
            await client.save(api + PATH, ACCOUNT.account_sid, tmp_path / "cat.jpg", MOST)
    assert list(tmp_path.iterdir()) == []


async def test_no_error_quotes_a_signed_url() -> None:
    location = "http://127.0.0.1:1/secret?signature=abc"  # nobody listens
    async with (
        recording((302, b""), Location=location) as (api, _),
        client_of(api) as client,
    ):
        with pytest.raises(MediaUnavailable) as caught:
            await get(client, api + PATH)
    shown: list[Any] = [caught.value, caught.value.__cause__]
    assert "secret" not in repr(shown)
    assert caught.value.__suppress_context__


async def test_a_saved_file_is_its_users_own_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"old")
    async with received() as (client, medium):
        await client.save(medium.url, ACCOUNT.account_sid, path, MOST)
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


async def test_where_no_file_can_be_nothing_is_fetched(tmp_path: Path) -> None:
    async with recording((200, CONTENT)) as (api, twilio), client_of(api) as client:
        for path, error in (
            (tmp_path / "missing" / "cat.jpg", FileNotFoundError),
            (tmp_path, IsADirectoryError),
        ):
            with pytest.raises(error):
                await client.save(api + PATH, ACCOUNT.account_sid, path, MOST)
    assert twilio.requests == []
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_save_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    async with received(trouble=Trouble(endless_media=True)) as (client, medium):
        saving = asyncio.create_task(
            client.save(medium.url, ACCOUNT.account_sid, path, 1_000_000_000)
        )
        while not any(part.stat().st_size for part in tmp_path.iterdir()):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
    assert list(tmp_path.iterdir()) == []


async def test_a_deleted_file_is_gone_and_may_be_deleted_again() -> None:
    async with received() as (client, medium):
        await delete(client, medium.url)
        with pytest.raises(MediaGone):
            await get(client, medium.url)
        await delete(client, medium.url)


async def test_a_file_of_another_message_or_account_is_not_there() -> None:
    async with received() as (client, medium):
        with pytest.raises(MediaGone):
            await get(client, medium.url.replace("/Messages/MM", "/Messages/SM"))
        foreign = "AC" + "9" * 32
        with pytest.raises(MediaGone):
            await client.fetch(medium.url.replace(ACCOUNT.account_sid, foreign), foreign, MOST)
