"""Requests are shared out, so that no pool has many connections; one at a time keeps to one."""

from contextlib import ExitStack

from offhook.twilio.client_pool import Clients
from testing.plain_http import PlainAsyncClient


def clients(count: int) -> Clients:
    return Clients(PlainAsyncClient, count=count)


async def test_requests_at_once_are_shared_out_evenly() -> None:
    shared = clients(3)
    with ExitStack() as stack:
        used = [stack.enter_context(shared.least_busy()) for _ in range(6)]
    assert sorted(map(used.count, used)) == [2] * 6
    await shared.close()


async def test_one_request_at_a_time_always_has_the_same_client() -> None:
    shared = clients(3)
    used = set()
    for _ in range(5):
        with shared.least_busy() as client:
            used.add(client)
    assert len(used) == 1
    await shared.close()


async def test_all_are_closed() -> None:
    shared = clients(2)
    with shared.least_busy() as one, shared.least_busy() as other:
        pass
    await shared.close()
    assert one.is_closed
    assert other.is_closed
