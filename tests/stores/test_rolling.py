"""A rolling deploy on PostgreSQL: this version beside one that is newer by a migration."""

import asyncio
import re
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.errors import SchemaTooNew
from offhook.stores import open_store
from offhook.stores.api import Filter, SendOutcome, SendRequest, Settlement, Store
from offhook.stores.migrations import migrations
from offhook.stores.postgres import PostgresStore
from testing.postgres import PostgresServer
from testing.stores import claim_one, draft, inbound, opened

_NUMBERS = count(1)
_KNOWN = migrations("offhook.stores.postgres.migrations")[-1].version

# What a migration of the same generation may do: add what an old version can do without.
_ADDED = """
    ALTER TABLE offhook.messages ADD COLUMN mood text NOT NULL DEFAULT '', ADD COLUMN note text;
    ALTER TABLE offhook.sends ADD COLUMN mood text NOT NULL DEFAULT '';
    ALTER TABLE offhook.lanes ADD COLUMN weight integer NOT NULL DEFAULT 0;
    ALTER TABLE offhook.attempts ADD COLUMN host text;
    CREATE INDEX messages_mood ON offhook.messages (mood) WHERE mood <> '';
    CREATE TABLE offhook.moods (name text PRIMARY KEY);
"""


@pytest.fixture
def database(server: PostgresServer) -> str:
    name = f"rolling_{next(_NUMBERS)}"
    server.create_database(name)
    return name


_FIRST_OF_EACH, _INDEX = re.findall(
    r"```sql\n(DELETE.*?;)\n(CREATE.*?;)\n```",
    Path("docs/how-to/rolling-deploys.md").read_text(),
    re.DOTALL,
)[0]


def migrate(server: PostgresServer, database: str, version: int, sql: str = "") -> None:
    """Apply a migration of the future."""
    note = f"INSERT INTO offhook.migrations (version) VALUES ({version})"
    server.execute(f"BEGIN; {sql} {note}; COMMIT", database=database)


async def work(store: Store, sid: str) -> None:
    """Take a message from its webhook to its delivered replies."""
    assert await store.accept(inbound(sid, sid))
    first = await claim_one(store)
    await store.write(first, [draft()])
    await store.settle(first, Settlement(Trigger.RETRY, "boom", drafts=(draft("return:0"),)))
    again = await claim_one(store)
    await store.settle(again, Settlement(Trigger.COMPLETE))
    for _ in range(2):
        (send,) = (await store.claim_sends(10, lease=30.0, owner="w1")).claims
        await store.settle_send(send, SendOutcome(SendTrigger.ACCEPT, sid=f"SMout{send.id}"))
    assert await store.replay(again.id)
    assert await store.drop(again.id)
    history = await store.show(again.id)
    assert history is not None
    assert len(history.sends) == 2
    await store.tidy()


async def test_an_older_version_goes_on_and_starts_beside_a_newer_one(
    server: PostgresServer, database: str
) -> None:
    async with opened(server.url_of(database)) as running:
        await work(running, "SM1")
        migrate(server, database, _KNOWN + 1, _ADDED)
        await work(running, "SM2")
        async with opened(server.url_of(database)) as restarted:
            await work(restarted, "SM3")
            await work(running, "SM4")
            assert len(await restarted.find(Filter())) == 4
    newest = server.execute("SELECT max(version) FROM offhook.migrations", database=database)
    assert int(newest) == _KNOWN + 1, "the older version leaves it as it is"


async def test_a_newer_generation_keeps_older_versions_from_starting(
    server: PostgresServer, database: str
) -> None:
    async with opened(server.url_of(database)) as running:
        migrate(server, database, (_KNOWN // 1000 + 1) * 1000)
        starting = open_store(server.url_of(database))
        with pytest.raises(SchemaTooNew, match="install a newer one"):
            await starting.open()
        await starting.close()
        await work(running, "SM1")  # what runs is for the operator to stop


async def test_of_many_that_start_at_once_one_makes_the_schema(
    server: PostgresServer, database: str
) -> None:
    async def start(n: int) -> None:
        async with opened(server.url_of(database)) as store:
            assert await store.accept(inbound(f"SM{n}"))

    await asyncio.gather(*map(start, range(4)))
    versions = server.execute("SELECT version FROM offhook.migrations", database=database)
    assert len(versions.split()) == len(migrations("offhook.stores.postgres.migrations"))


async def test_a_migration_may_take_longer_than_a_statement(
    server: PostgresServer, database: str
) -> None:
    url = server.url_of(database)
    async with opened(url):
        pass
    server.execute(
        f"DROP INDEX offhook.messages_sender; "
        f"DELETE FROM offhook.migrations WHERE version >= 2; "
        f"ALTER DATABASE {database} SET statement_timeout = '5s'",
        database=database,
    )
    other = await asyncpg.connect(url)
    await other.execute("BEGIN; LOCK TABLE offhook.messages IN ROW EXCLUSIVE MODE")
    store = PostgresStore(url, timeout=5.0)
    opening = asyncio.create_task(store.open())
    done, _ = await asyncio.wait({opening}, timeout=7.0)  # beyond both limits
    await other.close()
    assert not done
    await opening
    await store.close()
    assert server.execute(
        "SELECT to_regclass('offhook.messages_sender')", database=database
    ).strip()


async def test_an_index_may_be_there_before_its_migration(
    server: PostgresServer, database: str
) -> None:
    url = server.url_of(database)
    applied = "SELECT array_agg(version ORDER BY version) FROM offhook.migrations"
    async with opened(url):
        before = server.execute(applied, database=database)
        server.execute("DELETE FROM offhook.migrations WHERE version >= 2", database=database)
    async with opened(url) as store:
        await work(store, "SM1")
    assert server.execute(applied, database=database) == before


_KEYS_OF_A_LANE = """
    ALTER TABLE offhook.dedupe_keys DROP CONSTRAINT dedupe_keys_pkey;
    ALTER TABLE offhook.dedupe_keys ADD PRIMARY KEY (lane, key);
    DELETE FROM offhook.migrations WHERE version >= 3;
    INSERT INTO offhook.dedupe_keys (lane, key, received)
    SELECT lane, key, received + '1 s' FROM (VALUES ('\\x01'::bytea), ('\\x02'::bytea)) AS l (lane),
           (SELECT key, received FROM offhook.dedupe_keys) AS known;
"""


@pytest.mark.parametrize("beforehand", [False, True])
async def test_keys_that_were_known_in_several_lanes_are_known_in_all(
    server: PostgresServer, database: str, beforehand: bool
) -> None:
    url = server.url_of(database)
    async with opened(url) as store:
        await store.accept(inbound("SM1", "lane"))
        await store.settle(await claim_one(store), Settlement(Trigger.COMPLETE))
    server.execute(_KEYS_OF_A_LANE, database=database)
    if beforehand:  # as docs/how-to/rolling-deploys.md says
        for statement in (_FIRST_OF_EACH, _INDEX):
            server.execute(statement, database=database)
    async with opened(url) as store:
        await work(store, "SM2")
        assert not await store.accept(inbound("SM1", "lane"))
        assert not await store.accept(inbound("SM1")._replace(lane="another"))
    # What an older version, whose keys were those of a lane, still says.
    written = server.execute(
        "INSERT INTO offhook.dedupe_keys (lane, key, received) SELECT '\\x03', key, now() "
        "FROM offhook.dedupe_keys ON CONFLICT DO NOTHING RETURNING lane, key",
        database=database,
    )
    assert not written.strip()
    kept = server.execute("SELECT count(*) FROM offhook.dedupe_keys", database=database)
    assert int(kept) == 2


async def test_a_role_that_works_with_the_tables_goes_on_with_one_that_is_added(
    server: PostgresServer, database: str
) -> None:
    url, role = server.url_of(database), f"bot_{database}"
    async with opened(url) as store:
        await store.accept(inbound("SM0"))  # waits while the schema is migrated
        server.execute(
            "DROP TABLE offhook.send_requests, offhook.conversation_states; "
            "DELETE FROM offhook.migrations WHERE version >= 7; "
            f"CREATE ROLE {role} LOGIN PASSWORD 'bot'; GRANT USAGE ON SCHEMA offhook TO {role}; "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA offhook TO {role}; "
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA offhook TO {role}",
            database=database,
        )
    async with opened(url):  # the owner migrates
        pass
    async with opened(f"postgresql://{role}:bot@{url.rpartition('@')[2]}") as store:
        waiting = await claim_one(store)
        await store.settle(waiting, Settlement(Trigger.COMPLETE, state=b'{"a":1}'))
        await work(store, "SM1")
        assert await store.request(SendRequest("lane", (draft(),)))


async def test_a_store_that_cannot_be_opened_keeps_no_connection(
    server: PostgresServer, database: str
) -> None:
    url = server.url_of(database)
    async with opened(url):
        migrate(server, database, 1000)
    store = PostgresStore(url)
    with pytest.raises(SchemaTooNew):
        await store.open()
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"
    async with asyncio.timeout(60):
        while server.execute(sessions).strip() != "0":  # noqa: ASYNC110 - no event of ours
            await asyncio.sleep(0.05)  # the server is told, and takes a moment
    await store.close()
