"""What becomes of a write that nobody has thought of: others go on, and who asked is told."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from offhook.errors import StoreUnavailable
from offhook.stores.sqlite.engine import Engine
from offhook.stores.sqlite.schema import migrate
from tests.conformance.support import inbound
from tests.spool.support import locked


def broken(_connection: sqlite3.Connection, _now: int) -> None:
    raise NameError("what somebody wrote")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["on the loop", "on the thread"])
def test_a_mistake_in_a_write_is_told_at_once_and_the_next_one_is_committed(
    tmp_path: Path, elsewhere: bool
) -> None:
    async def scenario() -> None:
        engine = Engine(tmp_path / "offhook.db")
        await engine.open(migrate)
        try:
            if elsewhere:  # another process writes: the thread waits for its turn
                with locked(engine.path):
                    writing = asyncio.create_task(engine.write(broken))
                    await asyncio.sleep(0.1)
            else:
                writing = asyncio.create_task(engine.write(broken))
            with pytest.raises(StoreUnavailable, match="NameError") as refused:
                await writing
            assert "somebody" not in str(refused.value)
            assert isinstance(refused.value.__cause__, NameError)
            assert await engine.accept(inbound("SM1"))
        finally:
            await engine.close()

    asyncio.run(scenario())
