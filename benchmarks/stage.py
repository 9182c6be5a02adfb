"""Where one peer is run: fresh files, a fresh database, its processes."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.peers.table import Peer
from benchmarks.processes import Process, lines
from offhook.bench.requests import Mix, RequestSource
from testing.ports import free_port
from testing.postgres import PostgresServer, postgres
from testing.valkey import Valkey, valkey

_HANDLER: Final = """
[ "$BENCH_HANDLER_SECONDS" = 0.0 ] || sleep "$BENCH_HANDLER_SECONDS"
printf "%s\\n" "$0" >> "$BENCH_HANDLED"
"""
_HOOK: Final = {
    "id": "messages",
    "execute-command": "/bin/sh",
    "pass-arguments-to-command": [
        {"source": "string", "name": "-c"},
        {"source": "string", "name": _HANDLER},
        {"source": "payload", "name": "MessageSid"},
    ],
    "response-message": "<Response/>",
}


class Servers:
    """The servers that peers keep messages in, started when one needs them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._postgres: PostgresServer | None = None
        self._valkey: Valkey | None = None
        self._databases = 0

    @classmethod
    def none(cls) -> "Servers":
        """Return servers for those that need none."""
        return cls(ExitStack(), Path())

    def database(self) -> str:
        """Return the URL of a new, empty database."""
        if self._postgres is None:
            self._postgres = self._stack.enter_context(postgres())
        self._databases += 1
        return self._postgres.create_database(f"bench{self._databases}")

    def redis(self) -> Valkey:
        """Return an empty Valkey. It keeps nothing on disk, as its package's default is for RAM."""
        if self._valkey is None:
            self._valkey = self._stack.enter_context(valkey(self._folder / "valkey"))
        with self._valkey.client() as client:
            client.flushall()
        return self._valkey


class Stage:
    """One peer in one round.

    Attributes:
        folder: for its files.
        handled: the file its handlers write SIDs to.
        accepted: how many it has acknowledged, to be kept up by who loads it.
    """

    def __init__(self, peer: Peer, servers: Servers, folder: Path) -> None:
        folder.mkdir()
        self.peer = peer
        self.handled = folder / "handled"
        self.accepted = 0
        self.port = free_port()
        self.target = load.target(self.port)
        self.folder = folder
        self._processes: list[Process] = []
        self._environment = self._made_environment(servers)
        (folder / "hooks.json").write_text(json.dumps([_HOOK]))

    def _made_environment(self, servers: Servers) -> dict[str, str]:
        made = {
            "TWILIO_ACCOUNT_SID": load.ACCOUNT,
            "TWILIO_AUTH_TOKEN": load.TOKEN,
            "OFFHOOK_PUBLIC_URL": load.PUBLIC_URL,
            "OFFHOOK_STORE": f"sqlite:///{self.folder}/offhook.db",
            "OFFHOOK_TWILIO_API": "http://127.0.0.1:9",
            "OFFHOOK_ADMIN_BIND": "",
            "OFFHOOK_SLOW_NOTICE": "",  # there is no Twilio to send it
            "OFFHOOK_LOG_LEVEL": "error",
            "BENCH_HANDLED": str(self.handled),
            "PATH": os.environ["PATH"],
        }
        if self.peer.uses == "postgres":
            made["OFFHOOK_STORE"] = made["BENCH_POSTGRES"] = servers.database()
        if self.peer.uses == "redis":
            made["BENCH_REDIS"] = made["RQ_REDIS_URL"] = servers.redis().url
        return made

    def set(self, **variables: str) -> None:
        """Change the environment of what is started from now on."""
        self._environment |= variables

    def supply(self, mix: Mix | None = None) -> RequestSource:
        return RequestSource(self.target, account_sid=load.ACCOUNT, auth_token=load.TOKEN, mix=mix)

    def start_ingress(self, *, handler_seconds: float = 0.0) -> Process:
        return self._start(self.peer.ingress, handler_seconds)

    def start_worker(self, *, handler_seconds: float = 0.0) -> Process | None:
        return self._start(self.peer.worker, handler_seconds) if self.peer.worker else None

    def _start(self, template: str, handler_seconds: float) -> Process:
        command = self.peer.command(template, self.port, self.folder)
        more = {"BENCH_HANDLER_SECONDS": str(handler_seconds)}
        process = Process(command, self._environment | more, self.folder / "log")
        self._processes.append(process)
        return process

    async def until_up(self) -> None:
        """Wait until it accepts connections.

        Raises:
            RuntimeError: it has ended instead.
        """
        try:
            await load.until_up(self.port)
        except OSError:
            raise RuntimeError(f"{self.peer.title} did not start:\n{self.explain()}") from None

    def handled_count(self) -> int:
        return lines(self.handled)

    def explain(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        """SIGKILL to all of it."""
        for process in self._processes:
            process.kill()
        self._processes.clear()

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()


@contextmanager
def staged(peer: Peer, servers: Servers, folder: Path) -> Iterator[Stage]:
    """Give a peer a place of its own; all of it is gone after the context."""
    stage = Stage(peer, servers, folder)
    try:
        yield stage
    finally:
        stage.kill()
        shutil.rmtree(folder)
