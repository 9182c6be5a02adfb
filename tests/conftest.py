import asyncio
from collections.abc import Callable

import pytest
import uvloop

_ON_UVLOOP = {"admin", "cache", "cli", "dev", "ingress", "process", "proxies", "web"}

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, LoopFactory]:
    """Run what serves requests on the event loop of `offhook run`, and the rest on asyncio's own.

    An app that is mounted elsewhere, its worker included, runs on whatever loop is there.
    """
    if item.path.parent.name in _ON_UVLOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
