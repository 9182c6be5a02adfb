"""All settings, from the environment or `.env`; each is also a keyword of `Offhook(...)`."""

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from offhook.core.connection_uri import ESCAPE, is_postgres, problem, sqlite_file
from offhook.core.hosts import host_name
from offhook.core.opt_outs import WORDS, OptOuts
from offhook.core.urls import MESSAGES_PATH, STATUS_PATH, leads_somewhere
from offhook.errors import SettingsError


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


def _listed(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _rate(value: object) -> object:
    """Read `20/minute` as (20, 60.0)."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(second|minute|hour|day)\s*", value)
        if match is None:
            raise ValueError("must look like 20/minute (second, minute, hour or day)")
        seconds = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
        return (int(match[1]), seconds[match[2]])
    return value


def _optional_rate(value: object) -> object:
    """Read a rate of at least one; an empty string is no limit."""
    if value == "":
        return None
    rate = _rate(value)
    if isinstance(rate, tuple) and rate[0] < 1:
        raise ValueError("must let at least one through, as 20/minute does; empty for no limit")
    return rate


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_readable(url: str) -> None:
    """Refuse a URL that a driver would misread: the driver's error quotes part of the password."""
    if "://" in url and sqlite_file(url) is None and (reason := problem(url)):
        raise ValueError(reason)


ENV_FILE: Final = ".env"  # in the working directory
_LEAST_TOKEN: Final = 16  # characters
_LAST_PORT: Final = 65535

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


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)]
Rate = Annotated[tuple[int, float], NoDecode, BeforeValidator(_rate)]
OptionalRate = Annotated[tuple[int, float] | None, NoDecode, BeforeValidator(_optional_rate)]
Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[float, Field(gt=0)]

_TWILIO_NAMES: Final = frozenset(
    {"account_sid", "auth_token", "api_key", "api_key_secret"}
)  # these carry Twilio's own prefix, as its tools know them


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{'TWILIO' if name in _TWILIO_NAMES else 'OFFHOOK'}_{name.upper()}"


class Settings(BaseSettings):
    """offhook's settings; times in seconds, retention in days.

    `docs/reference/settings.md` explains each.
    """

    model_config = SettingsConfigDict(
        env_file_encoding="utf-8",
        env_ignore_empty=False,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        alias_generator=variable,
        hide_input_in_errors=True,  # an error must not show half a token
    )

    account_sid: str = ""
    auth_token: SecretList = ()
    api_key: str = ""
    api_key_secret: Annotated[SecretStr, Field(validate_default=True)] = SecretStr("")

    store: SecretStr = SecretStr("sqlite:///offhook.db")  # these URLs may hold a password
    store_direct: SecretStr = SecretStr("")
    store_pool: Annotated[int, Field(ge=3, le=100)] = 6
    store_timeout: Seconds = 10.0
    spool: SecretStr = SecretStr("")
    public_url: str = ""
    mount_path: str = ""
    trusted_proxies: Listed = ()
    allowed_hosts: Listed = ()
    signature: SignaturePolicy = SignaturePolicy.REQUIRED
    signature_timeout: Seconds = 0.1
    on_signature_timeout: TimeoutPolicy = TimeoutPolicy.DEFER
    cache: SecretStr = SecretStr("memory://")
    cache_ttl: Seconds = 300.0

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    ingresses: Annotated[int, Field(ge=1, le=64)] = 1
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    worker_nice: Annotated[int, Field(ge=0, le=19)] = 10
    body_limit: Annotated[int, Field(ge=1024)] = 64 * 1024
    body_timeout: Seconds = 5.0
    max_connections: Annotated[int, Field(ge=10)] = 1000
    enqueue_timeout: Seconds = 2.0

    handler_timeout: Seconds = 30.0
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 100
    lease: Annotated[float, Field(ge=1)] = 30.0
    drain_timeout: Seconds = 30.0

    max_backlog: Annotated[int, Field(ge=1)] | None = None
    retention: Days = 30.0
    dead_retention: Days = 90.0
    parked_retention: Days = 90.0
    dedupe_retention: Annotated[Days, Field(validate_default=True)] = 400.0
    keep_bodies: bool = True

    sender: str = ""
    opt_out_words: Listed = WORDS
    slow_notice: str = "One moment please, this takes a little longer."
    slow_notice_after: Seconds = 10.0
    timeout_notice: str = "This is taking longer than it should. We are trying again."
    failure_notice: str = "Sorry, something went wrong and we could not answer your message."
    limit_notice: str = "You are sending faster than we can answer. Please wait a little."
    typing: TypingPolicy = TypingPolicy.OFF
    loop_limit: OptionalRate = (20, 60.0)
    sender_limit: OptionalRate = None
    twilio_api: str = "https://api.twilio.com"

    admin_bind: str = "127.0.0.1:8001"
    dashboard_token: SecretStr = SecretStr("")
    alert_webhook: SecretStr = SecretStr("")  # the URL may hold a token
    alert_secret: Annotated[SecretStr, Field(validate_default=True)] = SecretStr("")

    log_level: str = "info"
    log_bodies: bool = False

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        # Bytes of the environment that are not UTF-8 are decoded as lone surrogates.
        for part in value if isinstance(value, (list, tuple)) else (value,):
            text = part.get_secret_value() if isinstance(part, SecretStr) else part
            if isinstance(text, str) and not _is_unicode(text):
                raise ValueError("holds bytes that are not UTF-8")
        return value

    @field_validator("account_sid", "api_key")
    @classmethod
    def _is_sid(cls, value: str, field: ValidationInfo) -> str:
        prefix = "AC" if field.field_name == "account_sid" else "SK"
        if value and not re.fullmatch(f"{prefix}[0-9a-f]{{32}}", value):
            raise ValueError(
                f"must be {prefix} and 32 hexadecimal digits in lower case, "
                "as in https://console.twilio.com"
            )
        return value

    @field_validator("api_key_secret")
    @classmethod
    def _goes_with_key(cls, value: SecretStr, others: ValidationInfo) -> SecretStr:
        if others.data.get("api_key") and not value:
            raise ValueError("must be set with TWILIO_API_KEY; it was shown when the key was made")
        return value

    @field_validator("public_url", "twilio_api")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            _ = parts.port  # raises when it is no number, or out of range
        except ValueError as error:
            raise ValueError("must be a URL such as https://bot.example.com") from error
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or re.search(r"[\s<>\"]", value)
        ):
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

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            whole = name.removeprefix("*.").lower()
            if name != "*" and ("*" in whole or host_name(whole) != whole):
                raise ValueError(
                    "must be names of hosts without scheme and port, such as bot.example.com, "
                    "*.example.com or [::1]; * for all"
                )
        return value

    @field_validator("mount_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if value and not re.fullmatch(r"(/[\w.~-]+)+/?", value):
            raise ValueError("must be a path such as /hooks")
        return value.rstrip("/")

    @field_validator("store")
    @classmethod
    def _is_store(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if sqlite_file(url) is None and not is_postgres(url):
            raise ValueError(
                "must look like sqlite:///offhook.db, sqlite:////var/lib/offhook.db or "
                "postgresql://user:password@host/database"
            )
        _is_readable(url)
        return value

    @field_validator("store_direct")
    @classmethod
    def _is_direct(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not is_postgres(url):
            raise ValueError("must look like postgresql://user:password@host/database")
        _is_readable(url)
        return value

    @field_validator("spool")
    @classmethod
    def _is_spool(cls, value: SecretStr, others: ValidationInfo) -> SecretStr:
        file = sqlite_file(value.get_secret_value())
        if value and file is None:
            raise ValueError(
                "must look like sqlite:////var/lib/bot/spool.db: a file on this machine"
            )
        store = others.data.get("store", SecretStr("")).get_secret_value()
        if value and file == sqlite_file(store):
            raise ValueError("must be another file than OFFHOOK_STORE")
        return value

    @field_validator("dedupe_retention")
    @classmethod
    def _outlasts_messages(cls, value: float, others: ValidationInfo) -> float:
        kept = ("retention", "dead_retention", "parked_retention")
        if value < max(others.data.get(name, 0.0) for name in kept):
            raise ValueError(
                "must be no less than OFFHOOK_RETENTION, OFFHOOK_DEAD_RETENTION and "
                "OFFHOOK_PARKED_RETENTION, or a message could be stored twice"
            )
        return value

    @field_validator("cache")
    @classmethod
    def _is_cache(cls, value: SecretStr) -> SecretStr:
        if not re.match(r"memory://$|(redis|rediss|unix)://.", value.get_secret_value()):
            raise ValueError("must look like memory://, redis://host:6379/0 or rediss://host")
        _is_readable(value.get_secret_value())
        return value

    @field_validator("admin_bind")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if value and _address(value) is None:
            raise ValueError("must look like 127.0.0.1:8001 or [::1]:8001; empty for none")
        return value

    @field_validator("dashboard_token")
    @classmethod
    def _is_hard_to_guess(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < _LEAST_TOKEN:
            raise ValueError(
                f"must be at least {_LEAST_TOKEN} characters; "
                "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
            )
        return value

    @field_validator("alert_webhook")
    @classmethod
    def _is_webhook(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not leads_somewhere(value.get_secret_value()):
            raise ValueError("must be a URL such as https://example.com/alerts")
        return value

    @field_validator("alert_secret")
    @classmethod
    def _signs_alerts(cls, value: SecretStr, others: ValidationInfo) -> SecretStr:
        webhook = others.data.get("alert_webhook")
        if webhook is not None and webhook.get_secret_value() and not value.get_secret_value():
            raise ValueError(
                "must be set, or the receiver of OFFHOOK_ALERT_WEBHOOK knows no caller"
            )
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The tokens that may have signed a webhook, the newest first."""
        return tuple(token.get_secret_value() for token in self.auth_token)

    @property
    def store_file(self) -> Path | None:
        """The store's file; None if the store is a server's."""
        return sqlite_file(self.store.get_secret_value())

    @property
    def spool_file(self) -> Path | None:
        """The spool's file; None without a spool."""
        return sqlite_file(self.spool.get_secret_value())

    @property
    def opt_outs(self) -> OptOuts:
        """The messages that count as a STOP."""
        return OptOuts.of(self.opt_out_words)

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """The host and port of the admin address; None if it is disabled."""
        return _address(self.admin_bind)

    @classmethod
    def load(cls, *, env_file: Path | str | None = ENV_FILE, **given: Any) -> Self:
        """Read the settings from keywords, the environment and `.env`, in this order of precedence.

        Raises:
            SettingsError: naming each invalid setting, and why it is invalid.
        """
        unknown = sorted(set(given) - set(cls.model_fields))
        if unknown:
            raise SettingsError(f"unknown setting: {', '.join(unknown)}")
        aliased = {variable(name): value for name, value in given.items()}
        try:
            return cls(_env_file=env_file, **aliased)  # type: ignore[call-arg]  # pydantic-settings' own
        except ValidationError as error:
            raise SettingsError(*_sentences(error)) from None

    def to_json(self) -> str:
        """Return all settings, secrets included, for another process of ours; see `from_json`."""
        plain = {name: _plain(getattr(self, name)) for name in type(self).model_fields}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the settings written by `to_json`. The environment is not read."""
        return cls.load(env_file=None, **json.loads(text))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed. The environment is not read again."""
        return self.model_copy(update=changes)

    def require(self, *names: str) -> None:
        """Check that required settings are set.

        Raises:
            SettingsError: naming the missing ones.
        """
        missing = [variable(name) for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError(
                f"{' and '.join(missing)} must be set (in the environment or in .env)"
            )


def _sentences(error: ValidationError) -> list[str]:
    found = []
    for one in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in one["loc"])
        if name in Settings.model_fields:  # a default that does not fit another setting
            name = variable(name)
        text = one["msg"].removeprefix("Value error, ")
        text = text.replace("Input should be", "should be")
        found.append(f"{name}: {text}")
    return found
