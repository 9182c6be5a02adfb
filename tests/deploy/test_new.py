"""What `offhook new` writes works: each file is tried with the program that it is for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from testing.certificate import certificate
from testing.commands import Call, Home
from tools.deploy import BOT


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("new"))
    created = home.run("new", "mybot")
    assert created.returncode == 0, created.stderr
    assert "cd mybot" in created.stdout
    return home.directory / "mybot"


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Return what a program prints; it must succeed."""
    ran = subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    return found or pytest.skip(f"{name} is not installed")


def test_it_is_what_deploy_shows(bot: Path) -> None:
    ours, shown = _texts(bot), _texts(BOT)
    installed, released = (texts.pop(Path("requirements.txt")) for texts in (ours, shown))
    assert ours == shown
    # So that the steps it prints work before there is a release.
    assert re.search(r"^offhook\[postgres\] @ file:///", installed, re.MULTILINE)
    assert re.search(r"^offhook\[postgres\]~=\d", released, re.MULTILINE)


def _texts(folder: Path) -> dict[Path, str]:
    kept = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder): path.read_text() for path in kept}


def test_nothing_is_overwritten(bot: Path) -> None:
    before = _texts(bot)
    again = Home(bot.parent).run("new", "mybot")
    assert again.returncode == 1
    (line,) = again.stderr.splitlines()
    assert f"{bot} exists already" in line
    assert _texts(bot) == before


@pytest.mark.parametrize("name", ["My_bot", "../bot", "1bot", "bot-", ""])
def test_a_bad_name_is_refused(name: str, tmp_path: Path, call_in: Callable[[Home], Call]) -> None:
    refused = call_in(Home(tmp_path))("new", name)
    assert refused.status == 2
    assert "use lower-case letters" in " ".join(refused.stderr.split())
    assert {path.name for path in tmp_path.iterdir()} == {"bot.py", "runtime"}


def test_its_own_test_passes(bot: Path) -> None:
    # Whatever the settings are: those of production are in .env when it is run there.
    settings = {
        "OFFHOOK_PUBLIC_URL": "https://mybot.example.com",
        "OFFHOOK_SENDER": "+15550001111",
        "OFFHOOK_STORE": "postgresql://bot@db/bot",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".")
    assert "1 passed" in run(*pytest_, cwd=bot, **settings)


def test_systemd_accepts_the_unit(bot: Path, tmp_path: Path) -> None:
    verify = program("systemd-analyze")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "offhook").symlink_to("/bin/true")
    unit = tmp_path / "mybot.service"
    text = (bot / "deploy" / "mybot.service").read_text()
    unit.write_text(text.replace("/srv/mybot", str(tmp_path)))
    assert "mybot" not in run(verify, "verify", unit, cwd=tmp_path)


def test_nginx_accepts_its_configuration(bot: Path, tmp_path: Path) -> None:
    nginx = program("nginx")
    text = (bot / "deploy" / "nginx.conf").read_text()
    pem = certificate(tmp_path)
    for file in ("fullchain.pem", "privkey.pem"):
        text = text.replace(f"/etc/letsencrypt/live/mybot.example.com/{file}", str(pem))
    text = text.replace("listen 443", "listen 127.0.0.1:8443")  # only root may listen on 443
    own = f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
    (tmp_path / "nginx.conf").write_text(f"{own}http {{ access_log off;\n{text}}}\n")
    said = run(nginx, "-t", "-p", tmp_path, "-e", "stderr", "-c", "nginx.conf", cwd=tmp_path)
    assert "warn" not in said


def test_the_compose_file_has_a_bot_and_a_database(bot: Path) -> None:
    services = import_module("yaml").safe_load((bot / "compose.yaml").read_text())["services"]
    assert services.keys() == {"bot", "db"}
    used = {volume.partition(":")[0] for one in services.values() for volume in one["volumes"]}
    assert used == {"spool", "database"}
    assert services["bot"]["env_file"] == ".env"


def test_docker_accepts_the_compose_file(bot: Path, tmp_path: Path) -> None:
    docker = program("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plugin")
    for name in ("compose.yaml", "Dockerfile"):
        shutil.copy(bot / name, tmp_path)
    (tmp_path / ".env").write_text((bot / ".env.example").read_text() + "POSTGRES_PASSWORD=0a1b\n")
    said = run(docker, "compose", "config", cwd=tmp_path)
    assert "postgresql://bot:0a1b@db/bot" in said
