"""Old and new versions on one schema: what was added does not keep the old ones out."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from offhook.core.inbound import Inbound
from offhook.core.lifecycle import Trigger
from offhook.errors import ConfigurationError, SchemaTooNew
from offhook.stores import migrations as module
from offhook.stores.api import Settlement
from offhook.stores.migrations import Migration, migrations, missing
from testing.stores import claim_one, inbound, opened, webhook

KNOWN = [Migration(1, "one", ""), Migration(2, "two", "")]


def test_a_new_schema_gets_all_and_an_old_one_what_it_lacks() -> None:
    assert missing(KNOWN, 0) == KNOWN
    assert missing(KNOWN, 1) == KNOWN[1:]
    assert missing(KNOWN, 2) == []


def test_a_schema_that_a_newer_version_has_added_to_will_do() -> None:
    assert missing(KNOWN, 3) == []


def test_a_schema_of_a_newer_generation_will_not() -> None:
    with pytest.raises(SchemaTooNew, match="schema 1000, this offhook knows 2"):
        missing(KNOWN, 1000)


def test_a_new_generation_follows_whatever_came_before() -> None:
    known = [*KNOWN, Migration(1000, "new", "")]
    assert missing(known, 2) == known[2:]
    # A schema that another version of the old generation had added to.
    assert missing(known, 3) == known[2:]


@pytest.mark.parametrize(
    ("names", "fit"),
    [
        (("0001_a", "0002_b"), True),
        (("0001_a", "1000_b", "1001_c"), True),
        (("0001_a", "0003_b"), False),
        (("0002_a",), False),
        (("0001_a", "0001_b"), False),
        (("0001_a", "1001_b"), False),
    ],
)
def test_numbers_have_no_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], fit: bool
) -> None:
    for name in names:
        (tmp_path / f"{name}.sql").write_text("")
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    if fit:
        assert [f"{m.version:04}_{m.name}" for m in migrations("any")] == list(names)
    else:
        with pytest.raises(ConfigurationError):
            migrations("any")


async def test_an_older_version_goes_on_beside_a_newer_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        connection = sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("ALTER TABLE messages ADD COLUMN added INTEGER")
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.close()
        assert await store.accept(inbound("SM1"))
    async with opened(tmp_path / "offhook.db") as again:
        assert await again.accept(inbound("SM2"))


# Migrations 1001 to 1003.
UNDONE = """
    ALTER TABLE sends DROP COLUMN fallback; ALTER TABLE sends DROP COLUMN fell_back;
    DROP TABLE conversation_states; DROP TABLE aliases; ALTER TABLE lanes DROP COLUMN joined;
    PRAGMA user_version = 1000
"""


async def test_what_waited_for_a_migration_has_a_state_and_one_lane(tmp_path: Path) -> None:
    path, number, user_id = tmp_path / "offhook.db", "whatsapp:+15551230001", "whatsapp:US.1349"

    def wrote(sid: str, **more: Any) -> Inbound:
        return Inbound.of(webhook(sid, To="whatsapp:+15005550006", **more))

    async with opened(path) as store:  # as an earlier version would, which knew no aliases
        await store.accept(wrote("SM1", From=user_id)._replace(alias=""))
        await store.accept(wrote("SM2", From=number))
        await store.accept(wrote("SM3", From=user_id)._replace(alias=""))
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.executescript(UNDONE)
    async with opened(path) as store:
        await store.accept(wrote("SM4", From=number, ExternalUserId=user_id))
        for n in range(1, 5):
            one = await claim_one(store)
            assert (one.sid, one.state is not None) == (f"SM{n}", n > 1)
            assert (await store.claim(9, lease=30.0, owner="w2", alone=False)).claims == ()
            await store.settle(one, Settlement(Trigger.COMPLETE, state=b'{"a":1}'))
