"""Who is compared, and how each is started."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

_ROOT: Final = Path(__file__).parents[2]
_UVICORN: Final = (
    "uvicorn {app} --port {{port}} --loop uvloop --http httptools --no-access-log "
    "--log-level warning --backlog 2048"
)

Server = Literal["postgres", "redis"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to answer webhooks.

    Attributes:
        name: in results and on the command line.
        title: in tables.
        ingress: the command that answers, with `{port}` to be filled in.
        worker: the command that handles, if that is another process.
        venv: the environment that has both.
        uses: the server it keeps messages in.
        quick: whether `make bench` runs it, or only `make bench-all`.
        handles: whether there is a handler.
        returns: what its documentation says of jobs that were running when a worker died.
    """

    name: str
    title: str
    ingress: str
    worker: str = ""
    venv: str = ".venv"
    uses: Server | None = None
    quick: bool = False
    handles: bool = True
    returns: str = ""

    def missing(self) -> str:
        """Return what has to be installed before it can run; empty if nothing."""
        program = self.ingress.split()[0]
        if self.venv and not (_ROOT / self.venv / "bin" / program).exists():
            return f"{self.venv} has no {program}: run it by `make bench` or `make bench-all`"
        if not self.venv and shutil.which(program) is None:
            return f"{program} is not installed: apt-get install {program}"
        return ""

    def command(self, template: str, port: int, folder: Path) -> list[str]:
        """Return a command of this peer's, ready to be started."""
        program, *arguments = template.format(port=port, folder=folder, root=_ROOT).split()
        path = _ROOT / self.venv / "bin" / program if self.venv else Path(program)
        return [str(path), *arguments]


def _uvicorn(app: str) -> str:
    return _UVICORN.format(app=app)


_INGRESS: Final = "offhook ingress benchmarks.peers.bot:app --port {port}"
_WORKER: Final = "offhook worker benchmarks.peers.bot:app"

PEERS: Final = (
    Peer(
        "empty",
        "empty ASGI app, the ceiling",
        _uvicorn("benchmarks.apps:empty"),
        quick=True,
        handles=False,
    ),
    Peer(
        "background-tasks",
        "FastAPI, BackgroundTasks",
        _uvicorn("benchmarks.peers.background_tasks:app"),
        venv=".venv-peers",
        quick=True,
        returns="never",
    ),
    Peer(
        "insert",
        "FastAPI, one INSERT each",
        _uvicorn("benchmarks.peers.insert:app"),
        worker="python -m benchmarks.peers.insert",
        venv=".venv-peers",
        uses="postgres",
        quick=True,
        returns="at once",
    ),
    Peer(
        "arq",
        "FastAPI, arq",
        _uvicorn("benchmarks.peers.arq_jobs:app"),
        worker="arq benchmarks.peers.arq_jobs.WorkerSettings",
        venv=".venv-arq",
        uses="redis",
        quick=True,
        returns="after 310 s",
    ),
    Peer(
        "celery",
        "FastAPI, Celery",
        _uvicorn("benchmarks.peers.celery_tasks:app"),
        worker="celery -A benchmarks.peers.celery_tasks:celery worker --loglevel ERROR",
        venv=".venv-peers",
        uses="redis",
        returns="those not begun after 1 h, others never",
    ),
    Peer(
        "taskiq",
        "FastAPI, taskiq",
        _uvicorn("benchmarks.peers.taskiq_tasks:app"),
        worker="taskiq worker benchmarks.peers.taskiq_tasks:broker --workers 1 --log-level ERROR",
        venv=".venv-peers",
        uses="redis",
        returns="after 10 min",
    ),
    Peer(
        "rq",
        "Flask on gunicorn, RQ",
        "gunicorn benchmarks.peers.flask_rq:app --bind 127.0.0.1:{port} --workers 1 --threads 8 "
        "--log-level error",
        worker="rq worker --quiet",
        venv=".venv-peers",
        uses="redis",
        returns="never by itself",
    ),
    Peer(
        "webhook",
        "webhook (Go), a process each; unsigned",
        "webhook -hooks {folder}/hooks.json -ip 127.0.0.1 -port {port} -urlprefix twilio",
        venv="",
        returns="never",
    ),
    Peer(
        "sqlite",
        "offhook, SQLite",
        _INGRESS,
        worker=_WORKER,
        quick=True,
        returns="at once",
    ),
    Peer(
        "postgres",
        "offhook, PostgreSQL",
        _INGRESS,
        worker=_WORKER,
        uses="postgres",
        quick=True,
        returns="after the lease, 30 s",
    ),
    Peer(
        "sqlite-2",
        "offhook, SQLite, 2 ingresses",
        f"{_INGRESS} --ingresses 2",
        worker=_WORKER,
        returns="at once",
    ),
    Peer(
        "postgres-2",
        "offhook, PostgreSQL, 2 ingresses",
        f"{_INGRESS} --ingresses 2",
        worker=_WORKER,
        uses="postgres",
        returns="after the lease, 30 s",
    ),
)
