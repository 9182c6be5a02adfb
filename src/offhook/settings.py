"""All settings, from the environment or `.env`; each is also a keyword of `Offhook(...)`."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from offhook.errors import SettingsError


class SignaturePolicy(StrEnum):
    """Whether webhooks must be signed."""

    REQUIRED = "required"
    OFF = "off"


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


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)]
Rate = Annotated[tuple[int, float], NoDecode, BeforeValidator(_rate)]
Seconds = Annotated[float, Field(gt=0)]

_TWILIO_NAMES: Final = frozenset(
    {"account_sid", "auth_token", "api_key", "api_key_secret"}
)  # these carry Twilio's own prefix, as its tools know them


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{'TWILIO' if name in _TWILIO_NAMES else 'OFFHOOK'}_{name.upper()}"


class Settings(BaseSettings):
    """offhook's settings; times in seconds. `docs/reference/settings.md` explains each."""

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
    api_key_secret: SecretStr = SecretStr("")

    store: str = "sqlite:///offhook.db"
    public_url: str = ""
    mount_path: str = ""
    trusted_proxies: Listed = ()
    signature: SignaturePolicy = SignaturePolicy.REQUIRED

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    ingresses: Annotated[int, Field(ge=1, le=64)] = 1
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    worker_nice: Annotated[int, Field(ge=0, le=19)] = 10
    body_limit: Annotated[int, Field(ge=1024)] = 64 * 1024
    body_timeout: Seconds = 5.0
    enqueue_timeout: Seconds = 2.0

    handler_timeout: Seconds = 30.0
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 100
    lease: Annotated[float, Field(ge=1)] = 30.0
    drain_timeout: Seconds = 30.0

    sender: str = ""
    slow_notice: str = "One moment please, this takes a little longer."
    slow_notice_after: Seconds = 10.0
    timeout_notice: str = "This is taking longer than it should. We are trying again."
    failure_notice: str = "Sorry, something went wrong and we could not answer your message."
    loop_limit: Rate = (20, 60.0)
    twilio_api: str = "https://api.twilio.com"

    log_level: str = "info"
    log_bodies: bool = False

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
        if parts.query or parts.fragment:
            raise ValueError("must not have a query or a fragment: it is the base that paths join")
        return value.rstrip("/")

    @field_validator("mount_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if value and not re.fullmatch(r"(/[\w.~-]+)+/?", value):
            raise ValueError("must be a path such as /hooks")
        return value.rstrip("/")

    @field_validator("store")
    @classmethod
    def _is_store(cls, value: str) -> str:
        if not re.match(r"sqlite:///.+", value):
            raise ValueError(
                "must look like sqlite:///offhook.db, or sqlite:////var/lib/offhook.db"
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

    @classmethod
    def load(cls, *, env_file: Path | str | None = ".env", **given: Any) -> Self:
        """Read the settings; what is given wins over the environment, that over `.env`.

        Raises:
            SettingsError: naming each setting that is wrong, and how.
        """
        unknown = sorted(set(given) - set(cls.model_fields))
        if unknown:
            raise SettingsError(f"unknown setting: {', '.join(unknown)}")
        aliased = {variable(name): value for name, value in given.items()}
        try:
            return cls(_env_file=env_file, **aliased)  # type: ignore[call-arg]  # pydantic-settings' own
        except ValidationError as error:
            raise SettingsError("; ".join(_sentences(error))) from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed. The environment is not read again."""
        return self.model_copy(update=changes)

    def require(self, *names: str) -> None:
        """Check that settings which have no default are there.

        Raises:
            SettingsError: naming those that are missing.
        """
        missing = [variable(name) for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError(
                f"{' and '.join(missing)} must be set (in the environment or in .env)"
            )


def _sentences(error: ValidationError) -> list[str]:
    found = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        text = text.replace("Input should be", "should be")
        found.append(f"{name}: {text}")
    return found
