"""Have templates take the place of texts outside of WhatsApp's window.

Every function runs within the writer's transaction.
"""

import sqlite3

from offhook.stores.sql import SENDS
from offhook.stores.sqlite import lanes
from offhook.stores.sqlite.conditions import SQL
from offhook.stores.sqlite.sequences import tally


def at_claim(connection: sqlite3.Connection, now: int, send_id: int) -> bool:
    """Have a send that is to be claimed become its fallback, if its window is closed.

    Returns:
        Whether it has. If the template goes by another part of the same text, it has been replaced.
    """
    values = {"id": send_id, "now": now}
    (falls_back,) = connection.execute(SQL["is_to_fall_back"], values).fetchone()
    if falls_back:
        connection.execute(SQL["give_way"], values)
        connection.execute(SQL["become_template"], values)
    return bool(falls_back)


def after_refusal(connection: sqlite3.Connection, now: int, send_id: int) -> None:
    """Have a send's fallback sent if WhatsApp's window was closed for it, once."""
    values = {"id": send_id, "now": now}
    row = connection.execute(SQL["refused_by_window"], values).fetchone()
    if row is None:
        return
    written = connection.execute(SQL["write_template"], values).rowcount
    connection.execute(SQL["replace_by_template"], values)
    tally(connection, "sends", written)
    lanes.touch(connection, SENDS, row[0], now)
    lanes.refresh(connection, SENDS, row[0], now)
