"""Numbers that outlive the process that has counted them."""

import os
import signal
import subprocess
import sys
import threading

from offhook.observe.shared_counters import (
    SIZE,
    SharedCounters,
    SharedMemory,
    inherited,
    read,
    totals,
)

COUNTER = """
import sys, time
from offhook.observe.shared_counters import SharedCounters
counters = SharedCounters.inherited(int(sys.argv[1]))
place = counters.place("runs")
for _ in range(int(sys.argv[2])):
    counters.numbers[place] += 1
print("counted", flush=True)
time.sleep(600)
"""


def count_and_die(memory: SharedMemory, times: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COUNTER, str(memory.fileno()), str(times)],
        pass_fds=[memory.fileno()],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"counted\n"
        finally:
            os.kill(process.pid, signal.SIGKILL)


def test_what_a_killed_process_has_counted_is_there_and_its_successor_counts_on() -> None:
    memory = SharedMemory()
    reader = inherited(memory.fileno())
    assert read(reader) == {}
    count_and_die(memory, 3)
    assert read(reader) == {"runs": (3.0,)}
    count_and_die(memory, 4)
    assert read(reader) == {"runs": (7.0,)}


def test_rows_of_several_processes_are_added_up_number_by_number() -> None:
    first, second = SharedCounters.alone(), SharedCounters.alone()
    for counters, number in ((first, 1.5), (second, 2.0)):
        place = counters.place("times", 2)
        counters.numbers[place + 1] = number
    second.numbers[second.place("runs")] = 4
    assert totals([first.memory, second.memory]) == {"times": (0.0, 3.5), "runs": (4.0,)}


def test_a_row_that_was_begun_and_not_finished_is_not_seen_and_is_begun_anew() -> None:
    counters = SharedCounters.alone()
    counters.place("whole")
    used = bytes(counters.memory[:8])
    counters.numbers[counters.place("half", 3)] = 9
    counters.memory[:8] = used  # its writer died before the last step
    assert read(counters.memory) == {"whole": (0.0,)}
    again = SharedCounters(counters.memory)
    again.place("half", 3)
    assert read(counters.memory) == {"whole": (0.0,), "half": (0.0, 0.0, 0.0)}


def test_when_the_memory_is_full_the_rest_is_lost() -> None:
    counters = SharedCounters.alone()
    counters.numbers[counters.place("first")] = 1
    for number in range(SIZE // 100):
        place = counters.place(f"{number:080}", 3)
        counters.numbers[place + 2] += 1
    rows = read(counters.memory)
    assert rows["first"] == (1.0,)
    assert 1000 < len(rows) < SIZE // 100
    assert set(rows.values()) == {(1.0,), (0.0, 0.0, 1.0)}


def test_two_threads_may_ask_for_places_at_once() -> None:
    counters = SharedCounters.alone()

    def ask() -> None:
        for number in range(500):
            counters.place(f"row {number}")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = read(counters.memory)
    assert len(rows) == 500
    places = {counters.place(key) for key in rows}
    assert len(places) == 500
