"""Connection overrides: how a webhook's URL tells Twilio to wait and to retry.

https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from offhook.errors import ConfigurationError

POLICIES: Final = frozenset({"4xx", "5xx", "ct", "rt", "all"})

# Each parameter's least and greatest value, times in milliseconds.
_BOUNDS: Final = {"ct": (100, 10_000), "rt": (100, 15_000), "tt": (100, 15_000), "rc": (0, 5)}


@dataclass(frozen=True, slots=True)
class Overrides:
    """How long Twilio waits for one webhook, and when it tries again. The defaults are Twilio's.

    Attributes:
        connect: seconds until the connection must be made, TLS included.
        read: seconds between two packets of the answer, the first one included.
        total: seconds for all attempts together.
        retries: attempts after the first.
        policy: which failures are retried: `ct` (not connected), `rt` (no answer in time), `4xx`,
            `5xx`, `all`.
    """

    connect: float = 5.0
    read: float = 15.0
    total: float = 15.0
    retries: int = 1
    policy: frozenset[str] = frozenset({"ct"})

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return what the fragment of `url` asks for; `sni` and `e` are not simulated.

        Raises:
            ConfigurationError: a value is out of the range that Twilio documents.
        """
        pairs = (pair.partition("=") for pair in url.partition("#")[2].split("&"))
        given = {name: value for name, _, value in pairs}
        return cls(
            connect=_number(given, "ct", 5_000) / 1000,
            read=_number(given, "rt", 15_000) / 1000,
            total=_number(given, "tt", 15_000) / 1000,
            retries=_number(given, "rc", 1),
            policy=_policy(given.get("rp", "ct")),
        )

    def retry_on(self, failure: str) -> bool:
        """Say whether a failure (`ct`, `rt`, `4xx`, `5xx`, or another) is tried again."""
        return failure in self.policy or "all" in self.policy


def usable(url: str) -> bool:
    """Say whether Twilio would take a URL for a webhook, its connection overrides included."""
    try:
        parts = urlsplit(url)
        _ = parts.port, Overrides.parse(url)
    except (ValueError, ConfigurationError):
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _number(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    least, greatest = _BOUNDS[name]
    if text.isascii() and text.isdigit() and least <= int(text[:6]) <= greatest:
        return int(text)
    raise ConfigurationError(f"connection override {name}: {least} to {greatest}, not {text!r}")


def _policy(text: str) -> frozenset[str]:
    policy = frozenset(text.split(","))
    if policy <= POLICIES:
        return policy
    raise ConfigurationError(
        f"connection override rp: of {', '.join(sorted(POLICIES))}, not {text!r}"
    )
