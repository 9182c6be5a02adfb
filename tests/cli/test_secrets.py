"""No secret is seen from outside: in a list of processes, in what is printed, or on a page."""

import ast
import http.client
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import pytest

import offhook
from offhook.errors import SettingsError
from offhook.settings import Settings
from testing import postgres as servers
from testing.commands import Call, Home, until
from testing.ports import free_port
from testing.roles import ACCOUNT
from testing.valkey import valkey

# In the middle of each secret: whoever prints a half of it is found as well.
MARK = "geheim"
PASSWORD = f"a/{MARK}@b?c#{MARK}%d"


@pytest.fixture(scope="module")
def server() -> Iterator[servers.PostgresServer]:
    with servers.postgres() as made:
        made.execute(f"CREATE ROLE bot LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        yield made


def secret() -> str:
    return f"{secrets.token_hex(8)}-{MARK}-{secrets.token_hex(8)}"


def descendants(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def listed(pid: int) -> str:
    """Return what any user of the machine sees of processes: `ps -ef`."""
    return "\n".join(
        (Path("/proc") / str(one) / "cmdline").read_text().replace("\0", " ")
        for one in [pid, *descendants(pid)]
    )


def get(url: str, token: str = "") -> str:
    request = urllib.request.Request(url, headers={"Cookie": f"offhook={token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.headers) + str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.headers) + error.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return str(error)


def test_nothing_that_runs_shows_a_secret(
    tmp_path: Path, call_in: Callable[[Home], Call], server: servers.PostgresServer
) -> None:
    server.create_database("shown")
    place, quoted = f"127.0.0.1:{server.port}/shown", quote(PASSWORD, safe="")
    port, admin = free_port(), free_port()
    with valkey(tmp_path / "valkey", password=MARK) as cache:
        home = Home(
            tmp_path,
            TWILIO_ACCOUNT_SID=ACCOUNT.account_sid,
            TWILIO_AUTH_TOKEN=f"{secret()},{secret()}",
            TWILIO_API_KEY="SK" + "0" * 32,
            TWILIO_API_KEY_SECRET=secret(),
            OFFHOOK_TWILIO_API=f"http://127.0.0.1:{free_port()}",
            OFFHOOK_PUBLIC_URL=f"http://127.0.0.1:{port}",
            OFFHOOK_STORE=f"postgresql://bot:{quoted}@{place}",
            OFFHOOK_STORE_DIRECT=f"postgresql://bot@{place}?password={quoted}",
            OFFHOOK_SPOOL=f"sqlite:///{tmp_path}/spool.db",
            OFFHOOK_CACHE=cache.url,
            OFFHOOK_ADMIN_BIND=f"127.0.0.1:{admin}",
            OFFHOOK_DASHBOARD_TOKEN=secret(),
            OFFHOOK_ALERT_WEBHOOK=f"http://127.0.0.1:{free_port()}/{secret()}",
            OFFHOOK_ALERT_SECRET=secret(),
            OFFHOOK_DRAIN_TIMEOUT="0.1",
            OFFHOOK_LOG_LEVEL="debug",
            OFFHOOK_LOG_BODIES="true",  # with tracebacks, and errors in their own words
        )
        call = call_in(home)
        seen: list[str] = []
        for arguments in COMMANDS:
            _, shown, complaints = call(*arguments)
            assert "Traceback" not in complaints
            seen += filter(None, [shown, complaints])
        cache.kill()  # which is complained of
        with home.start("run", "bot:app", "--port", str(port)) as process:
            process.wait_for("listening on")
            process.wait_for("cache-unavailable")
            until(lambda: len(descendants(process.pid)) >= 3)
            seen.append(listed(process.pid))
            pages = ["metrics", "readyz", "healthz", "dashboard"]
            seen += [get(f"http://127.0.0.1:{admin}/{page}") for page in pages]
            server.stop("immediate")
            try:
                process.wait_for("store-unavailable")
                seen += [get(f"http://127.0.0.1:{admin}/{page}") for page in pages]
                seen.append(_both(home, "stats"))
            finally:
                server.start()
            process.interrupt()
            process.exit_status()
            seen.append(process.output)
    assert all(seen)
    for shown in seen:
        assert MARK not in shown


COMMANDS = [("migrate",), ("stats",), ("messages", "list"), ("doctor",)]


def _both(home: Home, *arguments: str, **environment: str) -> str:
    ended = home.run(*arguments, **environment)
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


BAD = [f"1{sign}{MARK}" for sign in "/@?#%["]


@pytest.mark.parametrize("bad", [*BAD, f"x@db:{MARK}"])
@pytest.mark.parametrize("name", ["OFFHOOK_STORE", "OFFHOOK_STORE_DIRECT", "OFFHOOK_CACHE"])
def test_a_url_that_can_not_be_read_is_told_without_it(
    call: Call, monkeypatch: pytest.MonkeyPatch, name: str, bad: str
) -> None:
    scheme = "redis" if name == "OFFHOOK_CACHE" else "postgresql"
    monkeypatch.setenv(name, f"{scheme}://bot:{bad}@127.0.0.1:1/0")
    for command in ("migrate", "stats"):
        status, shown, said = call(command)
        assert (status, shown) == (1, "")
        assert said.startswith(f"offhook: {name}: ")
        assert "percent-encode" in said
        assert len(said.splitlines()) == 1
        assert MARK not in said
    status, shown, said = call("doctor", "--offline")
    assert status == 1
    assert "percent-encode" in shown
    assert MARK not in shown + said


def test_a_password_that_is_refused_is_not_shown(
    call: Call, monkeypatch: pytest.MonkeyPatch, server: servers.PostgresServer
) -> None:
    monkeypatch.setenv("OFFHOOK_STORE", f"postgresql://bot:{MARK}@127.0.0.1:{server.port}/shown")
    status, _, said = call("stats")
    assert status == 1
    assert "refuses bot" in said
    assert MARK not in said


def test_a_password_on_the_command_line_is_seen_by_others_and_that_is_told(
    call: Call, server: servers.PostgresServer
) -> None:
    server.create_database("given")
    url = f"postgresql://bot:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/given"
    status, shown, said = call("migrate", "--store", url)
    assert (status, shown) == (0, f"postgresql://127.0.0.1:{server.port}/given is up to date\n")
    assert "every user of this machine can see the password in --store" in said
    assert MARK not in shown + said


@pytest.mark.parametrize("variable", ["PGPORT", "PGSSLMODE", "PGSSLROOTCERT"])
def test_what_the_driver_can_not_read_ends_in_a_line(
    call: Call, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "nonsense")
    monkeypatch.setenv("OFFHOOK_STORE", f"postgresql://bot:{MARK}@127.0.0.1/bot?sslmode=verify-ca")
    status, shown, said = call("stats")
    assert (status, shown) == (1, "")
    assert len(said.splitlines()) == 1
    assert MARK not in said


def test_settings_show_no_url_that_may_hold_a_password() -> None:
    given = {
        "store": f"postgresql://bot:{MARK}@db/bot",
        "store_direct": f"postgresql://bot:{MARK}@db/bot",
        "spool": f"sqlite:///{MARK}.db",
        "cache": f"redis://:{MARK}@host/0",
    }
    settings = Settings.load(env_file=None, **given)
    for shown in (repr(settings), str(settings), str(asdict(settings))):
        assert MARK not in shown
    assert MARK not in json.dumps(asdict(settings), default=str)
    for name in given:
        with pytest.raises(SettingsError) as refused:
            Settings.load(env_file=None, **{name: f"odd://{MARK}"})
        assert MARK not in str(refused.value)


def test_there_is_one_way_to_open_a_store() -> None:
    """Who called `open_store` with a URL alone forgot pool, timeout and OFFHOOK_STORE_DIRECT."""
    package = Path(offhook.__file__).parent
    callers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and node.args
        and isinstance(node.func, ast.Name)
        and node.func.id in {"open_store", "PostgresStore", "SqliteStore"}
    }
    assert callers == {"stores/__init__.py"}
