"""`offhook new`: a bot to start from, with what it needs in production."""

import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Final

import typer

from offhook import __version__
from offhook.errors import ConfigurationError
from offhook.terminal import console

_TEMPLATES: Final = Path(__file__).parent / "project"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}(?<!-)")  # of a user of Linux, and in a host's name


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the bot and of its folder.")],
) -> None:
    """Create a folder with a bot, its test, and what deploys it.

    It has a systemd unit, an nginx configuration, a Dockerfile, and a compose file with
    PostgreSQL. Nothing that exists is changed.

    [bold]Examples[/]
      offhook new mybot
    """
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(
            f"{name!r} can't be the name of a bot: use lower-case letters, digits and hyphens, "
            "and begin with a letter"
        )
    folder = Path.cwd() / name
    _write(folder, files(name, _installed_from()))
    screen = console()
    screen.print(f"created {name}/\n", style="green")
    screen.print("Next:", style="bold")
    for step in (
        f"cd {name}",
        "python3 -m venv .venv && .venv/bin/pip install -r requirements-dev.txt",
        ".venv/bin/offhook dev bot:app",
    ):
        screen.print(f"  {step}", style="cyan", soft_wrap=True)
    screen.print("README.md says how to test it, and how to put it into production.")


def files(name: str, source: str = "") -> Mapping[str, str]:
    """Return what a new bot consists of: texts by their paths in its folder.

    Args:
        name: of the bot.
        source: the URL to install offhook from; empty for an index.
    """
    wanted = f" @ {source}" if source else f"~={__version__}"
    return {
        _path(template, name): _filled(template.read_text("utf-8"), name).replace(
            "REQUIREMENT", f"offhook[postgres]{wanted}"
        )
        for template in sorted(_TEMPLATES.rglob("*.txt"))
    }


def _installed_from() -> str:
    """Return the URL that this offhook was installed from; empty for an index.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    try:
        found = json.loads(distribution("offhook").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:  # run from its source, without having been installed
        return ""
    vcs = found.get("vcs_info")
    return f"{vcs['vcs']}+{found['url']}@{vcs['commit_id']}" if vcs else found.get("url", "")


def _path(template: Path, name: str) -> str:
    """Return where a template's file goes: `dot_gitignore.txt` is `.gitignore`."""
    path = template.relative_to(_TEMPLATES).as_posix().removesuffix(".txt")
    return _filled(re.sub(r"^dot_", ".", path), name)


def _filled(text: str, name: str) -> str:
    return text.replace("mybot", name).replace("VERSION", __version__)


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Create the folder with its files.

    Raises:
        ConfigurationError: it exists, or can't be written.
    """
    try:
        folder.mkdir()
        for path, text in texts.items():
            file = folder / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
    except FileExistsError as error:
        raise ConfigurationError(
            f"{folder} exists already: choose another name, or go to another directory"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{folder} can't be written: {error.strerror}") from error
