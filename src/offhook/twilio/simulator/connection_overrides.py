"""Connection overrides: timeouts and retries in the fragment of a webhook's URL.

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
    """Twilio's timeouts and retries for one webhook, with Twilio's defaults.

    Attributes:
        connect: seconds to connect, including TLS.
        read: seconds until the first packet of the response, and between any two.
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
        """Parse the fragment of `url`; `sni` and `e` are not simulated.

        Raises:
            ConfigurationError: a value is outside the documented range.
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
        """Return whether a failure (`ct`, `rt`, `4xx`, `5xx`, or another) is retried."""
        return failure in self.policy or "all" in self.policy


def usable(url: str) -> bool:
    """Return whether Twilio would accept a webhook URL, with its connection overrides."""
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
