"""What sends cost, as far as it is known. Prices are whole millionths: sums have no rounding."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What one send costs.

    Attributes:
        segments: of an SMS; 0 for another channel, for media, and if it is not known.
        price: in millionths of the currency; None while Twilio has not said.
        currency: such as `USD`; empty without a price.
    """

    segments: int = 0
    price: int | None = None
    currency: str = ""


UNKNOWN: Final = Cost()


@dataclass(frozen=True, slots=True)
class Spent:
    """What several sends that Twilio accepted cost together.

    Attributes:
        sends: their number.
        segments: the sum of their segments.
        priced: how many of them have a price.
        price: the sum of these prices, in millionths.
        currency: of the prices; empty without one.
    """

    sends: int
    segments: int
    priced: int = 0
    price: int = 0
    currency: str = ""


@dataclass(frozen=True, slots=True)
class DaySpent:
    """What the sends that were written on one day cost, in one currency.

    Attributes:
        day: its beginning in UTC, as seconds since the epoch.
    """

    day: int
    spent: Spent


@dataclass(frozen=True, slots=True)
class ConversationSpent:
    """What the sends of one conversation cost, in one currency.

    Attributes:
        sender: the number, or the Messaging Service, that they came from.
        to: the person.
    """

    sender: str
    to: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class Spending:
    """What was spent from a moment on.

    Attributes:
        days: in their order; those without a send are left out.
        conversations: those with the most segments, and then with the most sends, first.
    """

    days: tuple[DaySpent, ...]
    conversations: tuple[ConversationSpent, ...]


def in_units(price: int) -> str:
    """Return a price in units of its currency, as `0.0079`."""
    shown = f"{Decimal(price) / MILLION:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
