"""The session file by which `offhook text` finds a running `offhook dev`."""

import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from offhook.core.urls import MESSAGES_PATH
from offhook.errors import ConfigurationError
from offhook.twilio.made_up import Credentials, made_up_credentials

# Always the same account, so that replies stored by one start can be sent by the next.
ACCOUNT_SID: Final = "AC" + "0" * 32


@dataclass(frozen=True, slots=True)
class Session:
    """One start of `offhook dev`.

    Attributes:
        url: the base URL on this machine.
        pid: the process that owns the session.
        token: authorizes requests to the control API.
        auth_token: a random token that signs the simulated webhooks.
        store: the file of its own store; empty if it has none.
        tunnel: the public URL that leads here; empty with the simulated Twilio.
    """

    url: str
    pid: int
    token: str
    auth_token: str
    store: str = ""
    tunnel: str = ""

    @classmethod
    def begin(cls, url: str, store: Path | None = None, tunnel: str = "") -> Self:
        """Return a new session, with random secrets."""
        token, made_up = secrets.token_urlsafe(32), made_up_credentials().auth_token
        return cls(url, os.getpid(), token, made_up, "" if store is None else str(store), tunnel)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a session from a file.

        Raises:
            ConfigurationError: the file can't be read.
        """
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(f"{file} can't be read: remove it, start again") from error

    @property
    def credentials(self) -> Credentials:
        """The credentials of the simulated account."""
        return Credentials(ACCOUNT_SID, self.auth_token)

    @property
    def port(self) -> int:
        """The port."""
        return urlsplit(self.url).port or 0

    @property
    def webhook(self) -> str:
        """The URL that messages are posted to."""
        return f"{self.tunnel or self.url}{MESSAGES_PATH}"

    @property
    def phone(self) -> str:
        """The link that opens the phone in a browser."""
        return f"{self.url}/phone?token={self.token}"

    @property
    def dashboard(self) -> str:
        """The link that opens the dashboard in a browser."""
        return f"{self.url}/dashboard?token={self.token}"

    def is_alive(self) -> bool:
        """Return whether its process runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@contextmanager
def announced(session: Session) -> Iterator[Path]:
    """Write a session's file, and remove it at the end of the context.

    Raises:
        ConfigurationError: there is no directory that is private to this user.
    """
    file = runtime_directory() / f"dev-{session.port}.json"
    written = file.with_suffix(".new")  # a command that looks at this moment reads no half of it
    written.unlink(missing_ok=True)
    # Created with its mode: chmod afterwards would leave it readable for a moment.
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as opened:  # noqa: PTH123 - a descriptor, not a path
        json.dump(asdict(session), opened)
    written.replace(file)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        snapshot_file(file).unlink(missing_ok=True)
        error_file(file).unlink(missing_ok=True)


def snapshot_file(file: Path) -> Path:
    """Return the file that keeps the phone's conversations while the bot is reloaded."""
    return file.with_suffix(".phone")


def error_file(file: Path) -> Path:
    """Return the file that says why the bot could not be reloaded."""
    return file.with_suffix(".error")


def running() -> list[Session]:
    """Return the running sessions, and remove the files of dead ones."""
    found = []
    for file in sorted(runtime_directory().glob("dev-*.json")):
        try:
            session = Session.read(file)
        except ConfigurationError:
            if file.exists():
                raise
            continue  # it has just ended
        if session.is_alive():
            found.append(session)
        else:
            file.unlink(missing_ok=True)
    return found


def runtime_directory() -> Path:
    """Return this user's directory for session files, created if missing.

    Raises:
        ConfigurationError: others can access it, and could make us connect to their server.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    directory = (
        Path(base) / "offhook" if base else Path(tempfile.gettempdir()) / f"offhook-{os.getuid()}"
    )
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise ConfigurationError(f"{directory} can't be made: {error.strerror}") from error
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if not ours or status.st_mode & 0o077:
        raise ConfigurationError(f"{directory} must be yours alone: remove it, or chmod 700 it")
    return directory
