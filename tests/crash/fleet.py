"""The processes under test: what can be killed, and how it comes back."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx2

from testing.commands import Home, Process, is_alive, until
from testing.plain_http import plain_get
from testing.ports import free_port
from testing.postgres import StopMode
from tests.crash.plan import Target
from tests.crash.services import deleted_of


class Server(Protocol):
    """A database server that can be stopped."""

    def stop(self, mode: StopMode = ...) -> None:
        """Stop it: `immediate` leaves it no time to tidy up."""

    def start(self) -> None:
        """Start it again, and return when it answers."""


class Machine:
    """A command that supervises processes, which it replaces; who replaces it is this harness.

    Args:
        home: the bot's directory and environment.
        arguments: of `offhook`.
        counts: how many processes of each role it has.
        environment: more of it.
    """

    def __init__(
        self, home: Home, *arguments: str, counts: Mapping[Target, int], **environment: str
    ) -> None:
        self._home = home
        self._arguments = arguments
        self._environment = environment
        self._counts = counts
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, without waiting for its processes."""
        self._process = self._home.start(*self._arguments, **self._environment)

    def until_whole(self) -> None:
        """Wait until all its processes are there."""
        until(self._is_whole, self.explain)

    def processes(self, role: Target) -> list[int]:
        """Return the ids of its live processes of a role."""
        return self._supervisor.children(f"process.main {role}")

    def deleted(self) -> list[str]:
        """Return the files of a database that its processes have open, and that are deleted."""
        pids = (self._supervisor.pid, *self._supervisor.children())
        return [f"process {pid} has {file} open" for pid in pids for file in deleted_of(pid)]

    def all_but(self, survivor: int) -> tuple[int, ...]:
        """Return the ids of all its processes but one; the supervisor is none of them."""
        return tuple(pid for pid in self._supervisor.children() if pid != survivor)

    def freeze(self) -> None:
        """Let the supervisor and its children stand still."""
        os.killpg(self._supervisor.pid, signal.SIGSTOP)

    def kill(self) -> frozenset[int]:
        """Kill the supervisor and its children, one signal for all; return their ids."""
        pids = [pid for role in self._counts for pid in self.processes(role)]
        os.killpg(self._supervisor.pid, signal.SIGKILL)
        self._supervisor.exit_status()
        until(lambda: not any(is_alive(pid) for pid in pids), self.explain)
        return frozenset(pids)

    def stop(self) -> None:
        """Kill what is left."""
        if self._process is not None:
            self._process.__exit__(None, None, None)

    def explain(self) -> str:
        return self._supervisor.explain()

    def _is_whole(self) -> bool:
        return all(len(self.processes(role)) >= count for role, count in self._counts.items())

    @property
    def _supervisor(self) -> Process:
        if self._process is None:
            raise RuntimeError("the machine has not been started")
        return self._process


@dataclass(frozen=True, slots=True)
class Victim:
    """What is to be killed: processes of a machine, the machine itself, or the server."""

    target: Target
    machine: Machine | None = None
    pids: tuple[int, ...] = ()

    @property
    def workers(self) -> list[int]:
        """The processes which run handlers, and die with it."""
        match self:
            case Victim(Target.MACHINE, Machine() as machine):
                return machine.processes(Target.WORKER)
            case Victim(_, Machine() as machine, pids):
                return [pid for pid in machine.processes(Target.WORKER) if pid in pids]
            case _:
                return []


class Fleet:
    """All machines of an app. The methods block: call them in a thread.

    Args:
        machines: to be started, in this order.
        urls: the base URLs of the ingresses.
        server: of the store, if it has one.
    """

    def __init__(
        self, machines: Sequence[Machine], urls: Sequence[str], server: Server | None = None
    ) -> None:
        self.urls = urls
        self._machines = machines
        self._server = server

    def start(self) -> None:
        """Start all machines, and return when all processes are there and webhooks answered."""
        for machine in self._machines:
            machine.start()
        for machine in self._machines:
            machine.until_whole()
        until(lambda: all(_answers(url) for url in self.urls))

    def victims(self, target: Target) -> list[Victim]:
        """Return what a kill may hit."""
        match target:
            case Target.STORE:
                return [Victim(target)]
            case Target.MACHINE:
                return [Victim(target, machine) for machine in self._machines]
            case Target.ALL_BUT_ONE:
                return [
                    Victim(target, machine, machine.all_but(pid))
                    for machine in self._machines
                    for pid in machine.processes(Target.WORKER)
                ]
            case _:
                return [
                    Victim(target, machine, (pid,))
                    for machine in self._machines
                    for pid in machine.processes(target)
                ]

    def freeze(self, victim: Victim) -> None:
        """Let it do nothing more: this is the moment at which the kill is felt."""
        match victim:
            case Victim(Target.MACHINE, Machine() as machine):
                machine.freeze()
            case Victim(pids=pids):
                _signal(pids, signal.SIGSTOP)

    def kill(self, victim: Victim) -> frozenset[int]:
        """Kill with SIGKILL, and return when it is dead: the ids of the processes."""
        match victim:
            case Victim(machine=None):
                self._the_server.stop("immediate")
                return frozenset()
            case Victim(Target.MACHINE, Machine() as machine):
                return machine.kill()
            case Victim(_, _, pids):
                _signal(pids, signal.SIGKILL)
                until(lambda: not any(is_alive(pid) for pid in pids))
                return frozenset(pids)

    def mend(self, victim: Victim) -> None:
        """Return when something else is in its place."""
        match victim:
            case Victim(machine=None):
                self._the_server.start()
            case Victim(Target.MACHINE, Machine() as machine):
                machine.start()
                machine.until_whole()
            case Victim(machine=Machine() as machine):
                machine.until_whole()

    def deleted(self) -> list[str]:
        """Return the files of a database that its processes have open, and that are deleted."""
        return [line for machine in self._machines for line in machine.deleted()]

    def stop(self) -> None:
        """Kill what is left."""
        for machine in self._machines:
            machine.stop()

    @property
    def _the_server(self) -> Server:
        if self._server is None:
            raise RuntimeError("this store has no server to be stopped")
        return self._server


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def _answers(url: str) -> bool:
    try:
        return plain_get(f"{url}/readyz", timeout=5.0).is_success
    except httpx2.TransportError:
        return False


def one_machine(home: Home, *, ingresses: int = 2, workers: int = 2) -> Fleet:
    """Return `offhook run` with some processes of each role."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    machine = Machine(
        home,
        *("run", "bot:app", "--port", port),
        *("--ingresses", str(ingresses), "--workers", str(workers)),
        counts={Target.INGRESS: ingresses, Target.WORKER: workers},
        OFFHOOK_PUBLIC_URL=url,
        OFFHOOK_ADMIN_BIND="127.0.0.1:0",
    )
    return Fleet([machine], [url])


def many_machines(home: Home, server: Server, *, ingresses: int = 3, workers: int = 3) -> Fleet:
    """Return machines of one role each, joined only by the store.

    Each ingress is called by a URL of its own, and so are the status callbacks of each worker.
    """
    ports = [free_port() for _ in range(ingresses)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    answering = [
        Machine(
            home,
            *("ingress", "bot:app", "--port", str(port)),
            counts={Target.INGRESS: 1},
            OFFHOOK_PUBLIC_URL=url,
        )
        for port, url in zip(ports, urls, strict=True)
    ]
    working = [
        Machine(
            home,
            *("worker", "bot:app"),
            counts={Target.WORKER: 1},
            OFFHOOK_PUBLIC_URL=urls[number % ingresses],
        )
        for number in range(workers)
    ]
    return Fleet([*answering, *working], urls, server)
