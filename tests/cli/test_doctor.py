"""What the doctor finds, on real files and settings."""

import asyncio
import json
import os
import re
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from offhook.arrivals.file import LogFile, Slot, path_of
from offhook.arrivals.record import Arrival, pack
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.doctor import (
    CHECKS,
    Finding,
    Findings,
    Severity,
    configuration,
    examine,
    files,
    storage,
    store,
)
from offhook.doctor.finding import Check
from offhook.ingress.connections import SPARE_FILES
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.stores.api import SendOutcome, Settlement
from testing.commands import Call, Home
from testing.stores import claim_one, draft, inbound, opened, webhook
from tests.docs.json_fields import assert_documented

ACCOUNT, TOKEN = "AC" + "0" * 32, "0123456789abcdef" * 2
WELL = {
    "account_sid": ACCOUNT,
    "auth_token": TOKEN,
    "public_url": "https://bot.example.com",
}


SERVER = "postgresql://nowhere/offhook"


def settings(**given: object) -> Settings:
    return Settings.load(env_file=None, **{**WELL, **given})


def look(check: Check, **given: object) -> Findings:
    return asyncio.run(check(settings(**given)))


def one(check: Check, **given: object) -> Finding:
    (finding,) = look(check, **given)
    return finding


def severities(check: Check, **given: object) -> list[Severity]:
    return [finding.severity for finding in look(check, **given)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a store's file, as offhook makes it."""
    asyncio.run(migrated(tmp_path / "offhook.db"))
    return tmp_path / "offhook.db"


async def migrated(path: Path) -> None:
    made = open_store(f"sqlite:///{path}")
    await made.open()
    await made.close()


# The command


def test_a_sound_installation(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asyncio.run(migrated(tmp_path / "offhook.db"))
    for name, value in (
        ("TWILIO_ACCOUNT_SID", ACCOUNT),
        ("TWILIO_AUTH_TOKEN", TOKEN),
        ("OFFHOOK_PUBLIC_URL", "https://bot.example.com"),
    ):
        monkeypatch.setenv(name, value)
    shown = call("doctor", "--offline")
    assert "✓ ok    public URL   https://bot.example.com" in shown.stdout
    assert TOKEN not in shown.stdout
    assert "\x1b" not in shown.stdout
    objects = call("doctor", "--offline", "--json")
    found = {one["subject"]: one for one in map(json.loads, objects.stdout.splitlines())}
    assert_documented("`offhook doctor`", found["store"])
    # What lies below a test's directory is not the test's to choose.
    below = {"file system", "disk"}
    assert not [one for one in found.values() if one["subject"] not in below and one["remedy"]]
    fails = any(one["verdict"] == "fail" for one in found.values())
    assert shown.status == objects.status == fails
    assert found["store"]["verdict"] == "ok"


def test_what_is_wrong_comes_with_what_to_do(call: Call) -> None:
    shown = call("doctor")
    assert shown.status == 1
    lines = shown.stdout.splitlines()
    (wrong,) = (n for n, line in enumerate(lines) if "OFFHOOK_PUBLIC_URL is not set" in line)
    assert lines[wrong].startswith("✗ fail  public URL")
    assert lines[wrong + 1].startswith("        Set it to the URL")


def test_every_setting_that_can_not_be_read_is_named(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFHOOK_PORT", "eighty")
    monkeypatch.setenv("OFFHOOK_RETENTION", "1000")
    shown = call("doctor", "--json")
    assert shown.status == 1
    found = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [line["text"].partition(":")[0] for line in found] == [
        "OFFHOOK_PORT",
        "OFFHOOK_DEDUPE_RETENTION",
    ]


def test_a_bots_own_settings_are_looked_at(tmp_path: Path) -> None:
    bot = "from offhook import Offhook\napp = Offhook(public_url='https://other.example.com')\n"
    shown = Home(tmp_path, bot).run(
        "doctor", "bot:app", "--offline", "--store", "sqlite:///elsewhere.db"
    )
    assert "https://other.example.com" in shown.stdout
    assert "elsewhere.db" in shown.stdout


def test_a_check_that_breaks_hides_no_other() -> None:
    async def broken(_settings: Settings) -> Findings:
        raise ValueError(TOKEN)

    findings = asyncio.run(examine(settings(), (broken, configuration.signature)))
    assert [finding.severity for finding in findings] == [Severity.FAIL, Severity.OK]
    assert "ValueError" in findings[0].text
    assert TOKEN not in findings[0].text


def test_no_finding_shows_a_secret() -> None:
    given = {"auth_token": "geheim", "api_key_secret": "geheim"}
    assert "geheim" not in str(asyncio.run(examine(settings(**given), CHECKS)))


# Settings


@pytest.mark.parametrize(
    ("given", "severity"),
    [
        ({}, Severity.OK),
        ({"account_sid": ""}, Severity.FAIL),
        ({"auth_token": ""}, Severity.FAIL),
        ({"auth_token": "short"}, Severity.WARN),
        ({"auth_token": f"{TOKEN},short"}, Severity.WARN),
        ({"api_key": "", "api_key_secret": "s"}, Severity.FAIL),
        ({"api_key": "SK" + "0" * 32, "api_key_secret": "s"}, Severity.OK),
    ],
)
def test_credentials(given: dict[str, object], severity: Severity) -> None:
    found = set(severities(configuration.account, **given))
    assert found - {Severity.OK} == {severity} - {Severity.OK}


@pytest.mark.parametrize(
    ("url", "severity"),
    [
        ("https://bot.example.com", Severity.OK),
        ("https://bot.example.com:8443/hooks", Severity.OK),
        ("https://8.8.8.8", Severity.OK),
        ("", Severity.FAIL),
        ("http://bot.example.com", Severity.FAIL),
        ("https://localhost", Severity.FAIL),
        ("https://127.0.0.1:8000", Severity.FAIL),
        ("https://[::1]", Severity.FAIL),
        ("https://192.168.1.7", Severity.FAIL),
        ("https://bot.local", Severity.FAIL),
        ("https://my_bot.example.com", Severity.FAIL),
    ],
)
def test_a_public_url(url: str, severity: Severity) -> None:
    assert one(configuration.public_url, public_url=url).severity is severity


def test_unsigned_webhooks_are_worse_where_others_reach_them() -> None:
    assert one(configuration.signature).severity is Severity.OK
    assert one(configuration.signature, signature="off").severity is Severity.WARN
    assert one(configuration.signature, signature="off", host="0.0.0.0").severity is Severity.FAIL


def test_a_limit_that_each_worker_counts_for_itself() -> None:
    assert severities(configuration.senders) == []
    limit = {"sender_limit": "20/minute"}
    assert one(configuration.senders, **limit).severity is Severity.OK
    assert one(configuration.senders, **limit, workers=2).severity is Severity.WARN
    elsewhere = {"store": "postgresql://db/offhook"}  # where other machines' workers are, too
    assert one(configuration.senders, **limit, **elsewhere).severity is Severity.WARN
    shared = {"workers": 2, "cache": "redis://redis"}
    assert one(configuration.senders, **limit, **shared).severity is Severity.OK


def test_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration._SPARE_FILES == SPARE_FILES
    for most, severity in ((1024, Severity.WARN), (1064, Severity.OK), (-1, Severity.OK)):
        monkeypatch.setattr(resource, "getrlimit", lambda _kind, soft=most: (soft, soft))
        assert one(configuration.connections).severity is severity


def test_uvicorns_own_belief_in_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    assert severities(configuration.proxies) == [Severity.OK]
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert severities(configuration.proxies) == [Severity.OK, Severity.WARN]
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    trusted = look(configuration.proxies, public_url="", trusted_proxies="10.0.0.5")
    assert [finding.severity for finding in trusted] == [Severity.OK, Severity.WARN]
    assert "--no-proxy-headers" in trusted[1].remedy


@pytest.mark.parametrize(
    ("sender", "found"),
    [
        ("", []),
        ("+15005550006", []),
        ("whatsapp:+15005550006", []),
        ("MG" + "0" * 32, []),
        ("Bob's Burgers", [Severity.FAIL]),
    ],
)
def test_a_sender(sender: str, found: list[Severity]) -> None:
    assert severities(configuration.sender, sender=sender) == found


# The store


def test_a_store_that_works(file: Path) -> None:
    assert one(store.reachable, store=f"sqlite:///{file}").severity is Severity.OK
    assert severities(store.backlog, store=f"sqlite:///{file}") == [Severity.OK]


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    finding = one(store.reachable, store=f"sqlite:///{tmp_path}/new.db")
    assert (finding.severity, finding.remedy) == (Severity.WARN, "`offhook migrate` creates it.")
    finding = one(store.reachable, store=f"sqlite:///{tmp_path}/no/new.db")
    assert finding.severity is Severity.FAIL
    assert list(tmp_path.iterdir()) == []


def set_version(file: Path, version: int) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def test_an_older_schema_is_said_and_left_alone(file: Path) -> None:
    set_version(file, 1)
    finding = one(store.reachable, store=f"sqlite:///{file}")
    assert finding.severity is Severity.WARN
    assert "its schema is version 1" in finding.text
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_newer_schema_fails(file: Path) -> None:
    set_version(file, 2000)
    assert one(store.reachable, store=f"sqlite:///{file}").severity is Severity.FAIL


def test_what_is_no_database_fails(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("milk, bread, and what else one might need\n" * 100)
    assert one(store.reachable, store=f"sqlite:///{file}").severity is Severity.FAIL


def test_what_waits_and_what_is_dead_is_told(file: Path) -> None:
    async def fill() -> None:
        opened = open_store(f"sqlite:///{file}")
        await opened.open()
        for sid, age in (("SM1", 0.0), ("SM2", 3600.0)):
            await opened.accept(
                Inbound(Kind.MESSAGE, sid.encode(), sid, ACCOUNT, sid, "", "", b"", age=age)
            )
            if sid == "SM1":
                (claim,) = (await opened.claim(1, lease=30.0, owner="w", alone=False)).claims
                await opened.settle(claim, Settlement(Trigger.GIVE_UP))
        await opened.close()

    asyncio.run(fill())
    found = look(store.backlog, store=f"sqlite:///{file}")
    assert [(finding.subject, finding.severity) for finding in found] == [
        ("workers", Severity.WARN),
        ("messages", Severity.WARN),
    ]
    assert re.fullmatch(r"the oldest message has waited 3,6\d\d s", found[0].text)
    assert found[1].text == "1 are dead"


def test_replies_that_reach_nobody_are_one_finding_for_each_reason(file: Path) -> None:
    async def fill() -> None:
        async with opened(f"sqlite:///{file}") as store:
            for number, code in enumerate(("63038", "63038", "21610")):
                await store.accept(inbound(f"SM{number}", f"{number}"))
                drafts = (draft(),)
                await store.settle(
                    await claim_one(store), Settlement(Trigger.COMPLETE, drafts=drafts)
                )
                (sending,) = (await store.claim_sends(1, lease=30.0, owner="w")).claims
                trigger = SendTrigger.POSTPONE if code == "63038" else SendTrigger.REFUSE
                outcome = SendOutcome(trigger, error_code=code, error="No.", delay=3600.0)
                await store.settle_send(sending, outcome)

    assert severities(store.replies, store=f"sqlite:///{file}") == [Severity.OK]
    asyncio.run(fill())
    people, limited, refused = look(store.replies, store=f"sqlite:///{file}")
    assert people.text == "3 people have got no reply to a message that was handled"
    assert limited.text == "2 people wait for replies (error 63038)"
    assert "`offhook sends retry --all --state pending --code 63038`" in limited.remedy
    assert refused.text == "1 reply was refused by Twilio (error 21610)"


def test_the_day_is_told_on_which_the_first_parked_message_is_deleted(file: Path) -> None:
    async def fill() -> None:
        async with opened(f"sqlite:///{file}") as store:
            await store.accept(inbound("SM1"))
            await store.settle(await claim_one(store), Settlement(Trigger.PARK))

    asyncio.run(fill())
    today = time.time()
    found = look(store.backlog, store=f"sqlite:///{file}", parked_retention=10.0)
    days = {time.strftime("%Y-%m-%d", time.localtime(today + n * 86_400)) for n in (10.0, 10.01)}
    assert found[-1].text in {f"1 are parked; the first is deleted on {day}" for day in days}


# The machine

MOUNTINFO = """\
25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 25 0:27 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=800k
40 25 0:40 / /srv/my\\040data rw shared:9 master:2 - nfs4 server:/data rw
41 25 0:41 / /var/lib/docker/overlay2/1/merged rw - overlay overlay rw,lowerdir=/l
42 25 0:42 / /mnt rw - ext4 /dev/vdb1 rw
43 42 0:43 / /mnt rw - ramfs ramfs rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "type_", "severity"),
    [
        ("/home/bot/offhook.db", "ext4", Severity.OK),
        ("/run/offhook.db", "tmpfs", Severity.FAIL),
        ("/runner/offhook.db", "ext4", Severity.OK),
        ("/srv/my data/offhook.db", "nfs4", Severity.FAIL),
        ("/var/lib/docker/overlay2/1/merged/app/offhook.db", "overlay", Severity.FAIL),
        ("/mnt/offhook.db", "ramfs", Severity.FAIL),
    ],
)
def test_the_file_system_below_a_store(path: str, type_: str, severity: Severity) -> None:
    mount = storage.mount_of(Path(path), storage.mounts(MOUNTINFO.splitlines()))
    assert mount is not None
    assert mount.type == type_
    assert storage.check_mount(Path(path), mount).severity is severity


def test_this_machines_own_mounts_are_read(file: Path) -> None:
    finding = one(storage.file_system, store=f"sqlite:///{file}")
    assert str(file) in finding.text


def test_memory_is_found_out() -> None:
    assert one(storage.file_system, store="sqlite:////dev/shm/offhook.db").severity is Severity.FAIL


def test_a_spool_that_goes_with_the_memory_is_found_out_too() -> None:
    given = {"store": SERVER, "spool": "sqlite:////dev/shm/spool.db"}
    finding = one(storage.file_system, **given)
    assert (finding.severity, "OFFHOOK_SPOOL" in finding.remedy) == (Severity.FAIL, True)


def test_free_space_is_told(file: Path) -> None:
    finding = one(storage.free_space, store=f"sqlite:///{file}")
    assert "GB free" in finding.text


def test_a_store_that_others_may_read(file: Path) -> None:
    assert one(storage.file_modes, store=f"sqlite:///{file}").severity is Severity.OK
    file.chmod(0o644)
    finding = one(storage.file_modes, store=f"sqlite:///{file}")
    assert (finding.severity, finding.remedy) == (Severity.WARN, f"chmod 600 {file}")


def test_checks_of_a_file_are_silent_about_a_server() -> None:
    elsewhere = settings(store=SERVER)
    checks = (storage.file_system, storage.free_space, storage.file_modes)
    assert asyncio.run(examine(elsewhere, checks)) == []


# The files


def test_a_store_that_is_whole(file: Path) -> None:
    where = f"sqlite:///{file}"
    assert one(files.integrity, store=where).severity is Severity.OK
    assert one(files.log_size, store=where).severity is Severity.OK
    assert look(files.deleted_files, store=where) == []


def test_damage_is_found_in_the_store_and_in_the_spool(file: Path) -> None:
    spool = file.with_name("spool.db")
    with spooled(spool):
        pass
    given = {"store": SERVER, "spool": f"sqlite:///{spool}"}
    assert one(files.integrity, **given).severity is Severity.OK
    for database, table in ((file, "messages"), (path_of(spool, 1), "arrivals")):
        with closing(sqlite3.connect(database)) as connection:
            (page,) = connection.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)
            ).fetchone()
        with database.open("r+b") as damaged:
            damaged.seek((page - 1) * 4096)
            damaged.write(b"junk" * 1024)
    assert one(files.integrity, store=f"sqlite:///{file}").severity is Severity.FAIL
    assert one(files.integrity, **given).severity is Severity.FAIL


def test_what_waits_in_the_spool_is_told(file: Path) -> None:
    spool = file.with_name("spool.db")
    given = {"store": SERVER, "spool": f"sqlite:///{spool}"}
    assert one(files.waiting_in_spool, **given).severity is Severity.OK
    with spooled(spool) as log:
        log.append(pack([Arrival(webhook("SM1"), 1)]), 1, 1)
        log.set_aside(b"not to be read", "for some reason")
    finding = one(files.waiting_in_spool, **given)
    assert (finding.severity, finding.text[:9]) == (Severity.WARN, "1 webhook")
    assert "could not be sorted" in one(files.unsorted, **given).text
    assert look(files.waiting_in_spool, store=f"sqlite:///{file}") == []


@contextmanager
def spooled(spool: Path) -> Iterator[LogFile]:
    """Be an ingress that keeps webhooks in a spool."""
    slot = Slot.take(spool)
    with closing(slot.open()) as log:
        yield log
    slot.release()


def test_a_look_at_a_large_store_ends_in_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE large (n)")
        connection.execute(
            "INSERT INTO large WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
            "LIMIT 100000) SELECT randomblob(100) FROM n"
        )
        connection.commit()
    monkeypatch.setattr(files, "_CHECK_TIME", 0.0)
    monkeypatch.setattr(files, "_STEPS", 10)
    finding = one(files.integrity, store=f"sqlite:///{file}")
    assert finding.severity is Severity.OK
    assert "no damage found in" in finding.text


def test_a_log_that_only_grows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LONG", 1000)
    file.with_name("offhook.db-wal").write_bytes(b"x" * 2000)
    assert one(files.log_size, store=f"sqlite:///{file}").severity is Severity.WARN


@pytest.mark.parametrize("suffixes", [("",), ("-wal",), ("-wal", "-shm")])
def test_a_process_that_goes_on_using_removed_files_is_named_and_nothing_is_opened(
    file: Path, suffixes: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(file)) as holder:
        holder.execute("SELECT count(*) FROM messages").fetchall()
        for suffix in suffixes:
            file.with_name(f"offhook.db{suffix}").unlink()
        finding = one(files.deleted_files, store=f"sqlite:///{file}")
        assert finding.severity is Severity.FAIL
        assert f"process {os.getpid()} has {file}{suffixes[0]} (deleted) open" in finding.text
        assert look(files.integrity, store=f"sqlite:///{file}") == []
        assert one(store.reachable, store=f"sqlite:///{file}").severity is Severity.FAIL
        assert not file.with_name(f"offhook.db{suffixes[0]}").exists()


def test_a_store_that_was_there_and_is_gone_is_not_offered_to_be_made(file: Path) -> None:
    """Nothing has the file open any more: a running service lets go of one within a second."""
    for path in file.parent.glob("offhook.db*"):
        if not path.name.endswith("-lock"):
            path.unlink()
    finding = one(store.reachable, store=f"sqlite:///{file}")
    assert (finding.severity, "is missing" in finding.text) == (Severity.FAIL, True)
    assert "migrate" not in finding.remedy
    file.with_name("offhook.db-lock").unlink()
    assert one(store.reachable, store=f"sqlite:///{file}").severity is Severity.WARN
