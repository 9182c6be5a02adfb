"""What is written in one turn of the loop leaves in one write, before the connection ends."""

import asyncio
from collections.abc import Callable

import pytest

from offhook.ingress.transport import CoalescingTransport


class Recorder(asyncio.Transport):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes | str] = []

    def is_closing(self) -> bool:
        return "close" in self.asked or "abort" in self.asked

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.asked.append(bytes(data))

    def write_eof(self) -> None:
        self.asked.append("eof")

    def close(self) -> None:
        self.asked.append("close")

    def abort(self) -> None:
        self.asked.append("abort")

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")


def asked(do: Callable[[CoalescingTransport], None], *, turns: int = 1) -> list[bytes | str]:
    async def main() -> list[bytes | str]:
        transport = Recorder()
        joined = CoalescingTransport(transport, asyncio.get_running_loop())
        for _ in range(turns):
            do(joined)
            await asyncio.sleep(0)
        return transport.asked

    return asyncio.run(main())


def answer(transport: CoalescingTransport) -> None:
    transport.write(b"head,")
    transport.write(b"body")


def test_head_and_body_leave_together() -> None:
    assert asked(answer) == [b"head,body"]


def test_nothing_waits_for_the_next_turn() -> None:
    assert asked(answer, turns=3) == [b"head,body"] * 3


@pytest.mark.parametrize(
    ("end", "name"), [(CoalescingTransport.close, "close"), (CoalescingTransport.write_eof, "eof")]
)
def test_an_end_comes_after_the_answer(
    end: Callable[[CoalescingTransport], None], name: str
) -> None:
    def do(transport: CoalescingTransport) -> None:
        answer(transport)
        end(transport)

    assert asked(do) == [b"head,body", name]


def test_an_aborted_connection_gets_nothing_more() -> None:
    def do(transport: CoalescingTransport) -> None:
        answer(transport)
        transport.abort()

    assert asked(do) == ["abort"]
