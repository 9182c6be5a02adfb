"""What idling costs is told of the processes that the target is about."""

from pathlib import Path

import uvloop

from benchmarks.limits import roles
from benchmarks.peers.table import Peer
from benchmarks.processes import command_line
from benchmarks.stage import Servers, staged
from testing.commands import until
from testing.ports import free_port

RUN = Peer("run", "offhook run", "offhook run benchmarks.apps:quick --port {port}")


def test_the_ingress_and_the_worker_are_told_from_what_is_beside(tmp_path: Path) -> None:
    with staged(RUN, Servers.none(), tmp_path / "stage") as stage:
        stage.set(OFFHOOK_ADMIN_BIND=f"127.0.0.1:{free_port()}")
        process = stage.start_ingress()
        uvloop.run(stage.until_up())
        until(
            lambda: " ".join(map(command_line, process.family())).count(" offhook.process.") == 3,
            process.explain,
        )
        counted, beside = (" ".join(map(command_line, pids)) for pids in roles(process))
    assert "process.main ingress" in counted
    assert "process.main worker" in counted
    assert "process.main" not in beside
    assert "process.admin_main" in beside
