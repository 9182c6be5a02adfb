"""All settings, from the environment or `.env`; each is also a keyword of `Offhook(...)`."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

from offhook.core.account import Login
from offhook.core.connection_uri import ESCAPE, is_postgres, problem, sqlite_file
from offhook.core.hosts import host_name
from offhook.core.opt_outs import WORDS, OptOuts
from offhook.core.secret import SecretStr
from offhook.core.urls import MESSAGES_PATH, STATUS_PATH, leads_somewhere
from offhook.core.values import (
    Reader,
    at_least,
    integer,
    listed,
    one_of,
    optional,
    positive,
    rate,
    secret,
    secrets,
    switch,
    text,
    texts,
    that,
)
from offhook.errors import SettingsError
from offhook.extras import Extra, missing

T = TypeVar("T")


class SignaturePolicy(StrEnum):
    """Whether webhooks must be signed."""

    REQUIRED = "required"
    OFF = "off"


class TimeoutPolicy(StrEnum):
    """How to treat a webhook whose credentials are not available in time."""

    DEFER = "defer"  # store it unverified, and verify it before any handler runs
    REJECT = "reject"  # answer 503


class TypingPolicy(StrEnum):
    """Whether WhatsApp's typing indicator is shown by itself."""

    OFF = "off"
    AUTO = "auto"  # while a handler runs


class UnknownSendPolicy(StrEnum):
    """What to do about sends whose outcome is unknown."""

    ASK = "ask"  # look them up in Twilio's message list, and repeat those that it lacks
    LEAVE = "leave"  # only a status callback resolves them


ENV_FILE: Final = ".env"  # in the working directory
_LEAST_TOKEN: Final = 16  # characters
_LAST_PORT: Final = 65535
_LOOP_LIMIT: Final[tuple[int, float] | None] = (20, 60.0)

# The parser's error quotes the offending text, which may contain the password.
UNREADABLE_CACHE: Final = (
    f"OFFHOOK_CACHE can't be read: it must look like redis://user:password@host:6379/0; {ESCAPE}"
)


# The paths that `offhook connect` configures at Twilio, and that get copied from there.
_ROUTES: Final = f"{MESSAGES_PATH}|{STATUS_PATH}".replace("/", "/+")
_ROUTE: Final = re.compile(f"({_ROUTES})/*$", re.IGNORECASE)


def _base(parts: SplitResult) -> str:
    """Return the base URL that was probably meant, given a webhook's."""
    path = _ROUTE.sub("", parts.path).rstrip("/")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def _address(value: str) -> tuple[str, int] | None:
    """Read `127.0.0.1:8001`, `localhost:8001` or `[::1]:8001`."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", value)
    if match is None or int(match[3]) > _LAST_PORT:
        return None
    return match[1] or match[2], int(match[3])


def _is_readable(url: str) -> None:
    """Refuse a URL that a driver would misread: the driver's error quotes part of the password."""
    if "://" in url and sqlite_file(url) is None and (reason := problem(url)):
        raise ValueError(reason)


def _is_installed(extra: Extra) -> None:
    if reason := missing(extra):
        raise ValueError(reason)


def _account(value: str) -> str:
    return _sid("AC", value)


def _key(value: str) -> str:
    return _sid("SK", value)


def _sid(prefix: str, value: str) -> str:
    if value and not re.fullmatch(f"{prefix}[0-9a-f]{{32}}", value):
        raise ValueError(
            f"must be {prefix} and 32 hexadecimal digits in lower case, "
            "as in https://console.twilio.com"
        )
    return value


def _url(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises when it is no number, or out of range
    except ValueError as error:
        raise ValueError("must be a URL such as https://bot.example.com") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"[\s<>\"]", value):
        raise ValueError("must be a URL such as https://bot.example.com")
    base = _base(parts)
    if _ROUTE.search(parts.path) or parts.query or parts.fragment:
        raise ValueError(f"must be the base URL, without the path of a webhook: {base}")
    if "@" in parts.netloc:
        raise ValueError(
            "must not contain a user or a password: it is shown in logs, and the signature "
            f"proves who calls: {base}"
        )
    return value.rstrip("/")


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        whole = name.removeprefix("*.").lower()
        if name != "*" and ("*" in whole or host_name(whole) != whole):
            raise ValueError(
                "must be names of hosts without scheme and port, such as bot.example.com, "
                "*.example.com or [::1]; * for all"
            )
    return value


def _path(value: str) -> str:
    if value and not re.fullmatch(r"(/[\w.~-]+)+/?", value):
        raise ValueError("must be a path such as /hooks")
    return value.rstrip("/")


def _store(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if sqlite_file(url) is None and not is_postgres(url):
        raise ValueError(
            "must look like sqlite:///offhook.db, sqlite:////var/lib/offhook.db or "
            "postgresql://user:password@host/database"
        )
    _is_readable(url)
    if is_postgres(url):
        _is_installed("postgres")
    return value


def _server(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if url and not is_postgres(url):
        raise ValueError("must look like postgresql://user:password@host/database")
    _is_readable(url)
    return value


def _spool(value: SecretStr) -> SecretStr:
    if value and sqlite_file(value.get_secret_value()) is None:
        raise ValueError("must look like sqlite:////var/lib/bot/spool.db: a file on this machine")
    return value


def _cache(value: SecretStr) -> SecretStr:
    if not re.match(r"memory://$|(redis|rediss|unix)://.", value.get_secret_value()):
        raise ValueError("must look like memory://, redis://host:6379/0 or rediss://host")
    _is_readable(value.get_secret_value())
    if value.get_secret_value() != "memory://":
        _is_installed("redis")
    return value


def _bind(value: str) -> str:
    if value and _address(value) is None:
        raise ValueError("must look like 127.0.0.1:8001 or [::1]:8001; empty for none")
    return value


def _token(value: SecretStr) -> SecretStr:
    if 0 < len(value.get_secret_value()) < _LEAST_TOKEN:
        raise ValueError(
            f"must be at least {_LEAST_TOKEN} characters; "
            "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
        )
    return value


def _webhook(value: SecretStr) -> SecretStr:
    if value and not leads_somewhere(value.get_secret_value()):
        raise ValueError("must be a URL such as https://example.com/alerts")
    return value


def _level(value: str) -> str:
    if value.lower() not in {"debug", "info", "warning", "error"}:
        raise ValueError("must be debug, info, warning or error")
    return value.lower()


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


_TWILIO_NAMES: Final = frozenset(
    {"account_sid", "auth_token", "api_key", "api_key_secret"}
)  # these carry Twilio's own prefix, as its tools know them


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{'TWILIO' if name in _TWILIO_NAMES else 'OFFHOOK'}_{name.upper()}"


def read(name: str, value: object) -> Any:
    """Return a value as a setting has it.

    Raises:
        ValueError: it is invalid; the message says what it must be.
    """
    fields = {one.name: one for one in dataclasses.fields(Settings)}
    return fields[name].metadata["read"](value)


def variables(
    env_file: Path | str | None = ENV_FILE, environment: Mapping[str, str] = os.environ
) -> dict[str, str | None]:
    """Return the variables of a file and of the environment, which wins; names are in upper case.

    Raises:
        SettingsError: the file is not text.
    """
    found: dict[str, str | None] = {}
    if env_file is not None and Path(env_file).is_file():
        from dotenv import dotenv_values  # noqa: PLC0415 - only where there is a file

        try:
            found = {name.upper(): value for name, value in dotenv_values(env_file).items()}
        except UnicodeDecodeError:
            raise SettingsError(f"{env_file}: holds bytes that are not UTF-8") from None
    return found | {name.upper(): value for name, value in environment.items()}


def _setting(default: T, read: Reader[T]) -> T:
    """Declare a setting: its default, and how a value is read."""
    declared: T = field(default=default, metadata={"read": read})
    return declared


@dataclass(frozen=True, kw_only=True)
class Settings:
    """offhook's settings; times in seconds, retention in days.

    `docs/reference/settings.md` explains each.
    """

    account_sid: str = _setting("", that(text, _account))
    auth_token: tuple[SecretStr, ...] = _setting((), secrets)
    api_key: str = _setting("", that(text, _key))
    api_key_secret: SecretStr = _setting(SecretStr(""), secret)

    # These URLs may hold a password.
    store: SecretStr = _setting(SecretStr("sqlite:///offhook.db"), that(secret, _store))
    store_direct: SecretStr = _setting(SecretStr(""), that(secret, _server))
    store_pool: int = _setting(6, integer(3, 100))
    store_timeout: float = _setting(10.0, positive)
    spool: SecretStr = _setting(SecretStr(""), that(secret, _spool))
    public_url: str = _setting("", that(text, _url))
    mount_path: str = _setting("", that(text, _path))
    trusted_proxies: tuple[str, ...] = _setting((), texts)
    allowed_hosts: tuple[str, ...] = _setting((), that(texts, _hosts))
    signature: SignaturePolicy = _setting(SignaturePolicy.REQUIRED, one_of(SignaturePolicy))
    signature_timeout: float = _setting(0.1, positive)
    on_signature_timeout: TimeoutPolicy = _setting(TimeoutPolicy.DEFER, one_of(TimeoutPolicy))
    cache: SecretStr = _setting(SecretStr("memory://"), that(secret, _cache))
    cache_ttl: float = _setting(300.0, positive)

    host: str = _setting("127.0.0.1", text)
    port: int = _setting(8000, integer(0, _LAST_PORT))
    ingresses: int = _setting(1, integer(1, 64))
    workers: int = _setting(1, integer(1, 64))
    worker_nice: int = _setting(10, integer(0, 19))
    body_limit: int = _setting(64 * 1024, integer(1024))
    body_timeout: float = _setting(5.0, positive)
    max_connections: int = _setting(1000, integer(10))
    enqueue_timeout: float = _setting(2.0, positive)

    handler_timeout: float = _setting(30.0, positive)
    max_attempts: int = _setting(5, integer(1, 1000))
    concurrency: int = _setting(100, integer(1, 10_000))
    lease: float = _setting(30.0, at_least(1))
    drain_timeout: float = _setting(30.0, positive)

    max_backlog: int | None = _setting(None, optional(integer(1)))
    retention: float = _setting(30.0, positive)
    dead_retention: float = _setting(90.0, positive)
    parked_retention: float = _setting(90.0, positive)
    state_retention: float = _setting(365.0, positive)
    dedupe_retention: float = _setting(400.0, positive)
    keep_bodies: bool = _setting(True, switch)

    sender: str = _setting("", text)
    opt_out_words: tuple[str, ...] = _setting(WORDS, texts)
    slow_notice: str = _setting("One moment please, this takes a little longer.", text)
    slow_notice_after: float = _setting(10.0, positive)
    timeout_notice: str = _setting(
        "This is taking longer than it should. We are trying again.", text
    )
    failure_notice: str = _setting(
        "Sorry, something went wrong and we could not answer your message.", text
    )
    limit_notice: str = _setting(
        "You are sending faster than we can answer. Please wait a little.", text
    )
    typing: TypingPolicy = _setting(TypingPolicy.OFF, one_of(TypingPolicy))
    segments_warning: int | None = _setting(None, optional(integer(1, 100)))
    loop_limit: tuple[int, float] | None = _setting(_LOOP_LIMIT, optional(rate))
    sender_limit: tuple[int, float] | None = _setting(None, optional(rate))
    unknown_sends: UnknownSendPolicy = _setting(UnknownSendPolicy.ASK, one_of(UnknownSendPolicy))
    twilio_api: str = _setting("https://api.twilio.com", that(text, _url))

    admin_bind: str = _setting("127.0.0.1:8001", that(text, _bind))
    dashboard_token: SecretStr = _setting(SecretStr(""), that(secret, _token))
    alert_webhook: SecretStr = _setting(SecretStr(""), that(secret, _webhook))  # may hold a token
    alert_secret: SecretStr = _setting(SecretStr(""), secret)

    log_level: str = _setting("info", that(text, _level))
    log_bodies: bool = _setting(False, switch)

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The tokens that may have signed a webhook, the newest first."""
        return tuple(token.get_secret_value() for token in self.auth_token)

    @property
    def login(self) -> Login:
        """What the account logs in with at Twilio's REST API."""
        if self.api_key:
            return Login(self.api_key, self.api_key_secret.get_secret_value())
        return Login(self.account_sid, next(iter(self.auth_tokens), ""))

    @property
    def store_file(self) -> Path | None:
        """The store's file; None if the store is a server's."""
        return sqlite_file(self.store.get_secret_value())

    @property
    def spool_file(self) -> Path | None:
        """The path that the spool's files are beside; None without a spool."""
        return None if self.store_file else sqlite_file(self.spool.get_secret_value())

    @property
    def homes_of_logs(self) -> list[Path]:
        """The paths that arrivals logs may be beside, on this machine."""
        return [path for path in (self.store_file, self.spool_file) if path is not None]

    @property
    def unused_spool(self) -> Path | None:
        """The spool that is set, and not needed; an earlier version may have used it."""
        return sqlite_file(self.spool.get_secret_value()) if self.store_file else None

    @property
    def opt_outs(self) -> OptOuts:
        """The messages that count as a STOP."""
        return OptOuts.of(self.opt_out_words)

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """The host and port of the admin address; None if it is disabled."""
        return _address(self.admin_bind)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of each setting."""
        return {one.name: one.default for one in dataclasses.fields(cls)}

    @classmethod
    def load(cls, *, env_file: Path | str | None = ENV_FILE, **given: Any) -> Self:
        """Read the settings from keywords, the environment and `.env`, in this order of precedence.

        Raises:
            SettingsError: naming each invalid setting, and why it is invalid.
        """
        valid = cls.defaults()
        if unknown := sorted(given.keys() - valid.keys()):
            raise SettingsError(f"unknown setting: {', '.join(unknown)}")
        found = variables(env_file)
        named = {name: found.get(variable(name)) for name in valid}
        values = {name: value for name, value in named.items() if value is not None} | given
        problems = []
        for one in dataclasses.fields(cls):
            if one.name in values:
                try:
                    valid[one.name] = one.metadata["read"](values[one.name])
                except ValueError as error:
                    problems.append(f"{variable(one.name)}: {error}")
                    del valid[one.name]
        problems += [f"{variable(name)}: {reason}" for name, reason in _contradictions(valid)]
        if problems:
            raise SettingsError(*problems)
        return cls(**valid)

    def to_json(self) -> str:
        """Return all settings, secrets included, for another process of ours; see `from_json`."""
        return json.dumps({name: _plain(getattr(self, name)) for name in self.defaults()})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the settings written by `to_json`. The environment is not read."""
        return cls.load(env_file=None, **json.loads(text))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed. The environment is not read again."""
        return dataclasses.replace(self, **changes)

    def require(self, *names: str) -> None:
        """Check that required settings are set.

        Raises:
            SettingsError: naming the missing ones.
        """
        missing = [variable(name) for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError(
                f"{listed(missing, 'and')} must be set (in the environment or in .env)"
            )


def _contradictions(valid: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each setting that does not go with another, and what it must be.

    Args:
        valid: the settings without those that are invalid by themselves.
    """
    if valid.get("api_key") and not valid.get("api_key_secret", True):
        yield (
            "api_key_secret",
            "must be set with TWILIO_API_KEY; it was shown when the key was made",
        )
    spool, store = valid.get("spool"), valid.get("store")
    if spool and store and _file(spool) == _file(store):
        yield "spool", "must be another file than OFFHOOK_STORE"
    kept = [valid.get(name, 0.0) for name in ("retention", "dead_retention", "parked_retention")]
    if "dedupe_retention" in valid and valid["dedupe_retention"] < max(kept):
        names = "OFFHOOK_RETENTION, OFFHOOK_DEAD_RETENTION and OFFHOOK_PARKED_RETENTION"
        yield (
            "dedupe_retention",
            f"must be no less than {names}, or a message could be stored twice",
        )
    if valid.get("alert_webhook") and not valid.get("alert_secret", True):
        reason = "must be set, or the receiver of OFFHOOK_ALERT_WEBHOOK knows no caller"
        yield "alert_secret", reason


def _file(url: SecretStr) -> Path | None:
    return sqlite_file(url.get_secret_value())
