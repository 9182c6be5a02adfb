"""Arrivals of all logs are read in the order of their receipt, none of them without its elders."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.arrivals.file import LogFile, Slot, path_of
from offhook.arrivals.reader import LogReader
from offhook.arrivals.record import Arrival, pack
from offhook.core.inbound import Inbound
from testing.stores import webhook

LATER = 1_000_000


class Logs:
    """Logs that are written by hand."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.unreadable: list[Path] = []
        self.clock = LATER
        self.reader = LogReader(
            store, lambda: self.clock, lambda path, _: self.unreadable.append(path)
        )
        self.positions: dict[bytes, int] = {}
        self._slots: dict[int, tuple[Slot, LogFile]] = {}

    def append(self, number: int, *received: int) -> None:
        """Write one row into a log."""
        if number not in self._slots:
            slot = Slot.try_take(path_of(self.store, number), self.store)
            assert slot is not None
            self._slots[number] = slot, slot.open()
        batch = [Arrival(webhook(f"{number}:{at}"), at) for at in received]
        self._slots[number][1].append(pack(batch), max(received), len(batch))

    def read(self, limit: int = 100) -> list[str]:
        """Read a round, and note its positions."""
        found = self.reader.read(self.positions, limit)
        self.positions |= found.positions
        return [Inbound.of(arrival.webhook).sid for arrival in found.arrivals]

    def close(self) -> None:
        self.reader.close()
        for slot, file in self._slots.values():
            file.close()
            slot.release()
        self._slots.clear()


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    logs = Logs(tmp_path / "offhook.db")
    yield logs
    logs.close()


def test_nothing_is_there_at_first(logs: Logs) -> None:
    assert logs.read() == []


def test_two_logs_are_read_in_the_order_of_receipt(logs: Logs) -> None:
    logs.append(1, 10, 30)
    logs.append(2, 20, 40)
    logs.append(1, 50)
    assert logs.read() == ["1:10", "2:20", "1:30", "2:40", "1:50"]
    assert logs.read() == []
    logs.append(2, 60)
    assert logs.read() == ["2:60"]


def test_what_came_after_the_round_began_is_left_for_the_next(logs: Logs) -> None:
    logs.append(1, 10)
    logs.append(2, 20)

    def ticks() -> Iterator[int]:
        yield 20  # as the round begins
        logs.append(2, 30)
        while True:
            yield 40  # once the logs have been read

    clock = ticks()
    logs.reader = LogReader(logs.store, lambda: next(clock), lambda *_: None)
    assert logs.read() == ["1:10"]
    assert logs.read() == ["2:20", "2:30"]


def test_what_comes_from_a_time_that_is_yet_to_come_is_the_oldest(logs: Logs) -> None:
    logs.append(1, LATER + 10)
    logs.append(2, LATER + 20)
    logs.append(1, 5)
    logs.append(2, 7)
    assert logs.read() == [f"1:{LATER + 10}", f"2:{LATER + 20}", "1:5", "2:7"]


def test_what_is_left_of_a_long_log_is_not_overtaken(logs: Logs) -> None:
    for at in (10, 20, 30, 40):
        logs.append(1, at)
    logs.append(2, 15)
    logs.append(2, 35)
    assert logs.read(limit=2) == ["1:10", "2:15", "1:20"]
    assert logs.read(limit=2) == ["1:30", "2:35", "1:40"]


def test_nor_is_it_if_it_comes_from_a_time_that_is_yet_to_come(logs: Logs) -> None:
    for at in (10, 20, 30, 40):
        logs.append(1, LATER + at)
    logs.append(2, LATER + 15)
    logs.append(2, LATER + 35)
    logs.append(2, 7)
    first = [f"1:{LATER + 10}", f"2:{LATER + 15}", f"1:{LATER + 20}"]
    second = [f"1:{LATER + 30}", f"2:{LATER + 35}", f"1:{LATER + 40}"]
    read = [logs.read(limit=2) for _ in range(3)]
    assert read == [first, second, ["2:7"]]


def test_a_log_that_another_process_begins_meanwhile_is_found(logs: Logs) -> None:
    logs.append(1, 10)
    assert logs.read() == ["1:10"]
    logs.append(2, 20)
    assert logs.read() == ["2:20"]


def test_a_log_in_the_place_of_another_is_read_from_its_beginning(
    logs: Logs, tmp_path: Path
) -> None:
    logs.append(1, 10)
    assert logs.read() == ["1:10"]
    other = Logs(tmp_path / "other.db")
    other.append(1, 5)
    other.close()
    for suffix in ("", "-wal", "-shm"):
        path_of(logs.store, 1).with_name(f"offhook.db-arrivals-1{suffix}").unlink(missing_ok=True)
    path_of(other.store, 1).rename(path_of(logs.store, 1))
    assert logs.read() == ["1:5"]


def test_one_that_can_not_be_read_is_told_and_stops_no_other(logs: Logs) -> None:
    path_of(logs.store, 2).write_bytes(b"this is not a database " * 100)
    logs.append(1, 10)
    assert logs.read() == ["1:10"]
    assert logs.unreadable == [path_of(logs.store, 2)]


def test_one_that_can_not_be_read_for_now_stops_all(logs: Logs) -> None:
    logs.append(1, 10)
    logs.append(2, 20)
    path_of(logs.store, 3).mkdir()
    with pytest.raises(sqlite3.OperationalError):
        logs.read()
    path_of(logs.store, 3).rmdir()
    assert logs.read() == ["1:10", "2:20"]


@pytest.mark.parametrize("change", ["PRAGMA user_version = 99", "ALTER TABLE log RENAME TO other"])
def test_one_of_another_version_is_told_and_stops_no_other(logs: Logs, change: str) -> None:
    logs.append(1, 10)
    logs.append(2, 20)
    logs.close()
    with sqlite3.connect(path_of(logs.store, 2)) as other:
        other.execute(change)
    other.close()
    assert logs.read() == ["1:10"]
    assert logs.unreadable == [path_of(logs.store, 2)]


def test_one_that_is_being_made_is_empty(logs: Logs) -> None:
    path_of(logs.store, 2).touch()
    logs.append(1, 10)
    assert logs.read() == ["1:10"]
    assert logs.unreadable == []


def test_what_waits_is_counted(logs: Logs) -> None:
    assert logs.reader.waiting(logs.positions) == (0, None)
    logs.append(1, 10, 15)
    logs.append(2, 20)
    assert logs.reader.waiting(logs.positions) == (3, 15)
    logs.append(1, 30)
    logs.append(1, 40)
    assert logs.reader.waiting(logs.positions, at_most=1) == (3, 15), "no more is read of each"
    assert logs.reader.waiting(logs.positions) == (5, 15)
    logs.read(limit=1)
    assert logs.reader.waiting(logs.positions) == (3, 20)
    logs.read()
    assert logs.reader.waiting(logs.positions) == (0, None)
    assert logs.positions == logs.reader.ends()


def test_what_a_disk_has_changed_is_set_aside_and_the_rest_goes_on(logs: Logs) -> None:
    logs.append(1, 10, 11)
    logs.append(1, 20)
    path = path_of(logs.store, 1)
    with sqlite3.connect(path) as disk:
        (batch,) = disk.execute("SELECT batch FROM arrivals WHERE number = 2").fetchone()
        changed = batch[:60] + bytes([batch[60] ^ 1]) + batch[61:]
        disk.execute("UPDATE arrivals SET batch = ? WHERE number = 2", (changed,))
    disk.close()
    for _ in range(3):  # the store can't be written at first
        logs.reader.read(logs.positions, 100)
    assert logs.read() == ["1:20"]
    assert set(logs.unreadable) == {path}
    with sqlite3.connect(path) as disk:
        ((reason, kept),) = disk.execute("SELECT reason, batch FROM unsorted").fetchall()
    disk.close()
    assert "checksum" in reason
    assert kept == changed


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_whatever_is_read_when_all_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random, limit: int
) -> None:
    logs = Logs(tmp_path_factory.mktemp("logs") / "offhook.db")
    try:
        seen: list[str] = []
        clock = 0
        for _ in range(chance.randrange(1, 30)):
            if chance.random() < 0.6:
                received = [(clock := clock + 1) for _ in range(chance.randrange(1, 4))]
                logs.append(chance.randrange(1, 4), *received)
            else:
                seen += logs.read(limit=limit)
        while more := logs.read(limit=limit):
            seen += more
        assert [int(name.split(":")[1]) for name in seen] == list(range(1, clock + 1))
    finally:
        logs.close()
