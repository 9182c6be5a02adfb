import asyncio
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
import uvloop

from testing.commands import Call, Home
from testing.postgres import PostgresServer, postgres, shared_template
from testing.within import caller, enter

# An example that takes long says that the machine is busy.
hypothesis.settings.register_profile("offhook", deadline=None)
hypothesis.settings.load_profile("offhook")

# None is installed, and to look for one takes each process that a test starts 8 ms.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"

# No server of the tests has a certificate that an authority has signed, and to read those of all
# authorities takes each process that calls servers 45 ms.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "no_authorities.pem")

_ON_UVLOOP = {"admin", "cache", "cli", "dev", "ingress", "process", "proxies", "web"}

# Their tests start whole machines, and wait for them (`tests` is benchmarks/tests). Begun first,
# none of them is left alone with one test process at the end.
_LONGEST_FIRST = (
    "crash", "worker", "arrivals", "tests", "process", "docs", "proxies", "browser", "cli",
    "stores", "conformance", "deploy", "cache", "ingress", "twilio", "core",
)  # fmt: skip

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, LoopFactory]:
    """Run what serves requests on the event loop of `offhook run`, and the rest on asyncio's own.

    An app that is mounted elsewhere, its worker included, runs on whatever loop is there.
    """
    if item.path.parent.name in _ON_UVLOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    """Have the processes of this run, if it has several, share what takes long to make."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        shared = ExitStack()
        shared.enter_context(shared_template())
        config.add_cleanup(shared.close)


def pytest_collection() -> None:
    """Collect no garbage while the tests are collected: there is none."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let no garbage collection scan the thousands of tests, which stay to the end."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the wings, the longest first; within a wing, tests stay in their order."""
    ranks = {name: rank for rank, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.parent.name, len(ranks)))


@pytest.fixture
def call_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Home], Call]:
    """Return a function that makes a `Call` of a home: as `Home.run`, but within this process."""

    def make(home: Home) -> Call:
        enter(home, monkeypatch)
        return caller(monkeypatch, capsys)

    return make


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL that the tests of one module share."""
    with postgres() as running:
        yield running
