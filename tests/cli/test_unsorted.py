"""Commands while messages were acknowledged that are not in the store yet."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

from offhook.arrivals.file import LogFile, logs_of
from offhook.arrivals.logged import LoggedStore
from offhook.arrivals.record import Arrival, pack, unpack
from offhook.core.deferred import Deferred
from offhook.core.inbound import Webhook
from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.stores.sqlite.store import SqliteStore
from testing.commands import Call
from testing.stores import inbound, webhook


def acknowledge(directory: Path, number: int) -> str:
    """Put messages into an arrivals log; return their sender."""
    append(directory, *[webhook(f"SM{n}") for n in range(number)])
    return inbound("SM0").sender


def append(directory: Path, *webhooks: Webhook) -> None:
    async def main() -> None:
        ingress = LoggedStore(SqliteStore(directory / "offhook.db"), lambda _: None)
        await ingress.open()
        await asyncio.gather(*[ingress.accept(one) for one in webhooks])
        await ingress.close()

    asyncio.run(main())


def test_a_store_that_can_not_be_written_can_still_be_read(call: Call, tmp_path: Path) -> None:
    acknowledge(tmp_path, 3)
    with closing(sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shown = call("stats", "--json")
        assert shown.status == 0
        assert '"open": 3' in shown.stdout
        assert "not in the store yet" in shown.stderr
        assert call("messages", "list").stdout == "no messages\n"
    assert call("messages", "list", "--json").stdout.count("SM") == 3


def test_a_person_is_not_called_erased_whose_messages_are_yet_to_come(
    call: Call, tmp_path: Path
) -> None:
    sender = acknowledge(tmp_path, 600)
    shown = call("messages", "erase", "--sender", sender, "--yes", "--wait", "0")
    assert shown.status == 1
    assert "not in the store yet" in shown.stderr
    shown = call("messages", "erase", "--sender", sender, "--yes")
    assert shown.status == 0
    assert call("messages", "list").stdout == "no messages\n"


def test_a_person_is_erased_from_what_was_set_aside(call: Call, tmp_path: Path) -> None:
    unsortable = [
        webhook("", From=sender, Body=f"secret of {sender}", To="+15005550006")
        for sender in ("+15551230001", "whatsapp:+15551230001", "+15551230002")
    ]
    append(tmp_path, *unsortable)
    (path,) = logs_of(tmp_path / "offhook.db")
    with closing(LogFile.open(path)) as log:
        log.set_aside(pack([Arrival(unverified("+15551230001"), 1)]), "for some reason")
    shown = call("messages", "erase", "--sender", "+1 555 123 0001", "--yes", "--json")
    assert shown.status == 0
    assert json.loads(shown.stdout) == {"erased": 3, "busy": 0}
    assert [one.form for one in set_aside(tmp_path)] == [unsortable[-1].form]
    assert b"30002" in path.read_bytes()
    assert b"30001" not in path.read_bytes()


def test_a_person_is_not_called_erased_who_may_be_in_what_can_not_be_read(
    call: Call, tmp_path: Path
) -> None:
    append(tmp_path, webhook("SM1"))
    (path,) = logs_of(tmp_path / "offhook.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as log:
        log.execute("UPDATE arrivals SET batch = CAST(batch || x'00' AS BLOB)")
    shown = call("messages", "erase", "--sender", "+15551230001", "--yes")
    assert shown.status == 1
    assert "what can't be read may be theirs" in shown.stderr
    assert path.name in shown.stderr.replace("\n", "")


def unverified(sender: str) -> Webhook:
    form = urlencode({"From": sender, "To": "+15005550006", "Body": "secret"}).encode()
    request = Request(
        kind=Kind.MESSAGE,
        method="POST",
        base="https://bot.example.com",
        path="/twilio/messages",
        query=b"",
        content_type="application/x-www-form-urlencoded",
        signature="",
        body=form,
        started=0.0,
    )
    return Webhook(Kind.DEFERRED, Deferred(request, "AC1").form)


def set_aside(directory: Path) -> list[Webhook]:
    found = []
    for path in logs_of(directory / "offhook.db"):
        with closing(LogFile.open(path)) as file:
            found += [one.webhook for _, batch in file.all_set_aside() for one in unpack(batch)]
    return found
