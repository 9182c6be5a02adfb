"""What `make dist` builds can be installed, runs without any extra, and names the one it lacks."""

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SITE = Path(pytest.__file__).parents[1]
EXTRAS = ("asyncpg", "redis", "hiredis", "watchfiles", "opentelemetry")
BOT = """
from offhook import Message, Offhook
app = Offhook()
@app.message()
async def answer(message: Message) -> str:
    return message.body
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with a wheel and an sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel and what it requires, but no extra."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    # What the tests have is not downloaded anew.
    (folder / "required").mkdir()
    for path in SITE.iterdir():
        if not path.name.startswith((*EXTRAS, "offhook", "_offhook")) and path.suffix != ".pth":
            (folder / "required" / path.name).symlink_to(path)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "required.pth").write_text(str(folder / "required"))
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "venv" / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    return folder / "venv" / "bin"


def test_the_wheel_and_the_sdist_have_what_belongs_to_them(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in expected} <= inside
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= inside
    assert not [name for name in inside if name.startswith(("tests", "docs", "build"))]


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "demo", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All checks passed" in done.stdout
    where = "import offhook; print(offhook.__file__)"
    found = subprocess.check_output([installed / "python", "-c", where], cwd=tmp_path, text=True)
    assert Path(found.strip()).is_relative_to(installed.parent)


@pytest.mark.parametrize(
    ("command", "setting", "said"),
    [
        ("stats", "OFFHOOK_STORE=postgresql://h/d", "OFFHOOK_STORE: needs asyncpg, {}[postgres]"),
        (
            "run bot:app",
            "OFFHOOK_STORE=postgresql://h/d",
            "OFFHOOK_STORE: needs asyncpg, {}[postgres]",
        ),
        (
            "doctor --offline",
            "OFFHOOK_CACHE=redis://h",
            "OFFHOOK_CACHE: needs redis and hiredis, {}[redis]",
        ),
        ("dev bot:app --port 0", "HOME=/", "reloading needs watchfiles, {}[dev]"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    installed: Path, tmp_path: Path, command: str, setting: str, said: str
) -> None:
    (tmp_path / "bot.py").write_text(BOT)
    name, _, value = setting.partition("=")
    done = run(installed, tmp_path, *command.split(), **{name: value})
    output = " ".join((done.stdout + done.stderr).split())
    assert said.format('not installed: pip install "offhook') in output
    assert "Traceback" not in output
    assert done.returncode == 1


def run(
    installed: Path, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    given = {
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "0" * 32,
        "OFFHOOK_PUBLIC_URL": "https://bot.example.com",
        **variables,
    }
    return subprocess.run(
        [installed / "offhook", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **given},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
