"""What the doctor finds on a real PostgreSQL, as it is and as it should not be."""

import asyncio
from itertools import count

import pytest

from offhook.doctor import Finding, Findings, Severity, examine, postgres, store
from offhook.settings import Settings
from offhook.stores import open_store
from testing import postgres as servers

_NUMBERS = count()
NOT_ANSWERING = "postgresql://bot:geheim@127.0.0.1:1/bot"


@pytest.fixture
def database(server: servers.PostgresServer) -> str:
    """Return the name of a new database."""
    name = f"doctor_{next(_NUMBERS)}"
    server.create_database(name)
    return name


def settings(url: str, **given: object) -> Settings:
    return Settings.load(env_file=None, store=url, **given)


def look(url: str, **given: object) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in asyncio.run(postgres.server(settings(url, **given))):
        found.setdefault(finding.subject, []).append(finding)
    return found


def look_at_store(url: str) -> Findings:
    return asyncio.run(store.reachable(settings(url)))


async def migrated(url: str) -> None:
    made = open_store(url)
    await made.open()
    await made.close()


def test_a_sound_server(server: servers.PostgresServer) -> None:
    found = look(server.url)
    assert list(found) == [
        "PostgreSQL", "connections", "durability", "autovacuum", "clock",
    ]  # fmt: skip
    assert {one.severity for many in found.values() for one in many} == {Severity.OK}
    assert found["connections"][0].text == "2 processes here use up to 16 of 197 connections"


def test_too_many_processes_for_the_server(server: servers.PostgresServer) -> None:
    (finding,) = look(server.url, workers=40)["connections"]
    assert finding.severity is Severity.FAIL


@pytest.mark.parametrize(
    ("setting", "subject"),
    [
        ("synchronous_commit = off", "durability"),
        ("default_transaction_read_only = on", "PostgreSQL"),
    ],
)
def test_a_database_that_is_set_up_badly(
    server: servers.PostgresServer, database: str, setting: str, subject: str
) -> None:
    server.execute(f'ALTER DATABASE "{database}" SET {setting}')
    found = look(server.url_of(database))[subject]
    assert Severity.FAIL in {one.severity for one in found}


@pytest.mark.parametrize(
    ("setting", "value", "subject", "severity"),
    [
        ("autovacuum", "off", "autovacuum", Severity.FAIL),
        ("fsync", "off", "durability", Severity.FAIL),
        ("full_page_writes", "off", "durability", Severity.WARN),
    ],
)
def test_a_server_that_is_set_up_badly(
    server: servers.PostgresServer, setting: str, value: str, subject: str, severity: Severity
) -> None:
    change(server, f"ALTER SYSTEM SET {setting} = {value}", setting, value)
    try:
        assert [one.severity for one in look(server.url)[subject]] == [severity]
    finally:
        change(server, f"ALTER SYSTEM RESET {setting}", setting, "on")


def change(server: servers.PostgresServer, statement: str, setting: str, value: str) -> None:
    """Change a server's setting, and wait until new connections have it."""
    server.execute(statement)
    server.execute("SELECT pg_reload_conf()")
    for _ in range(1000):
        if server.execute(f"SHOW {setting}").strip() == value:
            return
    raise AssertionError(f"{setting} does not become {value}")


def test_a_table_that_the_role_was_not_granted(
    server: servers.PostgresServer, database: str
) -> None:
    """As after an upgrade, where another role migrates than runs the bot."""
    asyncio.run(migrated(server.url_of(database)))
    server.execute(
        "CREATE ROLE bot LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA offhook TO bot; "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA offhook TO bot; "
        "REVOKE DELETE ON offhook.workers FROM bot",
        database=database,
    )
    place = server.url_of(database).rpartition("@")[2]
    (finding,) = look(f"postgresql://bot:secret@{place}")["privileges"]
    assert finding.severity is Severity.FAIL
    assert finding.text == "bot may not read or change workers"
    server.execute(finding.remedy.partition(": ")[2], database=database)
    assert "privileges" not in look(f"postgresql://bot:secret@{place}")


def test_standbys_that_are_not_waited_for(server: servers.PostgresServer, database: str) -> None:
    # Nobody may commit anything while nobody answers to the names.
    with server.follower("c"):
        (finding,) = look(server.url)["standbys"]
        assert finding.severity is Severity.WARN
        assert finding.text.startswith("1 standbys, none synchronous")
        change(server, "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (a, b)'",
               "synchronous_standby_names", "ANY 1 (a, b)")  # fmt: skip
        try:
            (finding,) = look(server.url)["standbys"]
            assert finding.severity is Severity.FAIL
            assert "none of which is connected" in finding.text
            with server.follower("b"):
                (finding,) = look(server.url)["standbys"]
                expected = (Severity.OK, "commits wait for ANY 1 (a, b)")
                assert (finding.severity, finding.text) == expected
            role = f"{server.url_of(database)}?options=-csynchronous_commit%3Dlocal"
            (finding,) = look(role)["standbys"]
            assert finding.severity is Severity.WARN
        finally:
            change(server, "ALTER SYSTEM RESET synchronous_standby_names",
                   "synchronous_standby_names", "")  # fmt: skip


def test_a_server_that_is_away_and_no_password_shown() -> None:
    findings = asyncio.run(examine(settings(NOT_ANSWERING)))
    assert "ConnectionRefusedError" in str(findings)
    assert "geheim" not in str(findings)


def test_a_database_without_a_store_is_left_without(
    server: servers.PostgresServer, database: str
) -> None:
    url = server.url_of(database)
    (finding,) = look_at_store(url)
    assert (finding.severity, finding.remedy) == (Severity.WARN, "`offhook migrate` creates it.")
    assert server.execute("SELECT to_regclass('offhook.migrations')", database=database) == "\n"
    asyncio.run(migrated(url))
    assert [one.severity for one in look_at_store(url)] == [Severity.OK]
    server.execute("INSERT INTO offhook.migrations VALUES (1000)", database=database)
    assert [one.severity for one in look_at_store(url)] == [Severity.FAIL]
