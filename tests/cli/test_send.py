"""`offhook send`: what it writes, and what it says."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from offhook.core.lifecycle import SendState
from offhook.stores.api import SendClaim
from testing.commands import Call, Home, dev, until
from testing.stores import opened
from tests.docs.json_fields import assert_documented

ANN, OURS = "+15551230001", "+15005550006"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "0" * 32)
    monkeypatch.setenv("OFFHOOK_SENDER", OURS)

    async def make() -> None:
        async with opened(tmp_path / "offhook.db"):
            pass

    asyncio.run(make())


def sends(directory: Path) -> list[SendClaim]:
    async def claim() -> list[SendClaim]:
        async with opened(directory / "offhook.db") as store:
            return list((await store.claim_sends(10, lease=30.0, owner="w")).claims)

    return asyncio.run(claim())


def test_a_message_is_written_for_a_worker_to_send(call: Call, tmp_path: Path) -> None:
    said = call("send", ANN, "hello")
    assert (said.status, said.stderr) == (0, "")
    assert said.stdout == "send 1 to +1555***0001: pending; a worker sends it\n"
    (one,) = sends(tmp_path)
    assert (one.draft.to, one.draft.sender, one.draft.body) == (ANN, OURS, "hello")


def test_a_script_gets_an_object_and_a_key_sends_once(call: Call, tmp_path: Path) -> None:
    options = ("send", ANN, "hello", "--key", "k", "--at", "2h", "--unless-reply", "--json")
    first, second = (json.loads(call(*options).stdout) for _ in range(2))
    assert_documented("`offhook send`", first)
    assert first.pop("due") is not None
    assert first == {
        "id": 1, "state": "scheduled", "to": "+1555***0001", "key": "k", "repeated": False,
    }  # fmt: skip
    assert (second["id"], second["repeated"]) == (1, True)
    assert "written before under this key" in call(*options[:-1]).stdout
    assert sends(tmp_path) == []
    another = call("send", ANN, "other words", "--key", "k")
    assert "another text" in another.stderr


def test_what_is_scheduled_is_listed_and_can_be_withdrawn(call: Call) -> None:
    assert call("send", ANN, "word " * 400, "--at", "2h", "--key", f"for {ANN}").status == 0
    listed = call("sends", "list", "--state", "scheduled", "--json").stdout.splitlines()
    second, first = map(json.loads, listed)
    assert (first["id"], first["message"], first["identity"]) == (1, None, "key:for +1555***0001")
    assert first["due"] > first["created"]
    assert "leaves" in call("sends", "list").stdout
    assert "leaves" in call("sends", "show", "1").stdout
    assert call("sends", "cancel", "1").status == 0
    assert call("sends", "list", "--state", "scheduled", "--json").stdout == ""
    assert json.loads(call("sends", "show", str(second["id"]), "--json").stdout)["state"] == (
        "canceled"
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("hello", "--at", "tomorrow"), "not a time"),
        (("hello", "--at", "500d"), "500 days ahead"),
        ((), "needs a text"),
        (("hello", "--media", "cat.jpg"), "media are URLs"),
        (("hello", "--key", ""), "key is a str"),
    ],
)
def test_wrong_usage_writes_nothing(
    call: Call, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    said = call("send", ANN, *options)
    assert said.status == 2
    assert why in " ".join(said.stderr.replace("│", " ").split())
    assert sends(tmp_path) == []


def test_without_a_number_to_send_from_it_says_what_to_do(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OFFHOOK_SENDER")
    said = call("send", ANN, "hello")
    assert said.status == 2
    assert "OFFHOOK_SENDER" in said.stderr
    assert "--from" in said.stderr
    assert call("send", ANN, "hello", "--from", "+15005550007").status == 0
    assert [one.draft.sender for one in sends(tmp_path)] == ["+15005550007"]


def test_without_an_account_or_a_store_it_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TWILIO_ACCOUNT_SID")
    said = call("send", ANN, "hello")
    assert (said.status, "TWILIO_ACCOUNT_SID" in said.stderr) == (1, True)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "0" * 32)
    said = call("send", ANN, "hello", "--store", f"sqlite:///{tmp_path}/other.db")
    assert (said.status, "there is no store" in said.stderr) == (1, True)


def test_beside_dev_it_goes_through_the_simulated_twilio(
    tmp_path: Path, call_in: Callable[[Home], Call]
) -> None:
    (tmp_path / "home").mkdir()
    home = Home(tmp_path / "home", TWILIO_ACCOUNT_SID="AC" + "1" * 32)

    async def are_sent(number: int) -> bool:
        async with opened(home.directory / ".offhook" / "dev.db") as store:
            return (await store.counts()).sends[SendState.SENT] == number

    with dev(home) as process:
        beside = call_in(home)
        assert beside("text", "hello").status == 0
        sent = beside("send", ANN, "good morning")
        assert sent.status == 0, sent.stderr
        until(lambda: asyncio.run(are_sent(2)), process.explain)
