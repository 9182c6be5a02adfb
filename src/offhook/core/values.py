"""Read values of settings, from the text of a variable or from what Python code gives.

Each reader raises `ValueError` with a sentence that says what the value must be. None quotes the
value: it may be half a token.
"""

import re
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import Final, TypeVar

from offhook.core.secret import SecretStr

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Reader = Callable[[object], T]

_SWITCHES: Final = {
    **dict.fromkeys(("true", "1", "yes", "on", "t", "y"), True),
    **dict.fromkeys(("false", "0", "no", "off", "f", "n"), False),
}
_PERIODS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


def listed(names: Iterable[str], last: str) -> str:
    """Return names as a sentence has them: `A, B and C`, where `last` is "and"."""
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end


def text(value: object) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - like every other wrong value
    try:
        value.encode()
    except UnicodeEncodeError:
        # Bytes of the environment that are not UTF-8 are decoded as lone surrogates.
        raise ValueError("holds bytes that are not UTF-8") from None
    return value


def secret(value: object) -> SecretStr:
    """Read a text that is masked from here on."""
    reveal = getattr(value, "get_secret_value", None)  # pydantic's has one too
    return SecretStr(text(reveal() if callable(reveal) else value))


def texts(value: object) -> tuple[str, ...]:
    """Read texts, separated by commas."""
    return tuple(text(part) for part in _parts(value))


def secrets(value: object) -> tuple[SecretStr, ...]:
    """Read texts, separated by commas, that are masked from here on."""
    return tuple(secret(part) for part in _parts(value))


def _parts(value: object) -> Collection[object]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        return value
    raise ValueError("must be texts, separated by commas")


def switch(value: object) -> bool:
    """Read what is on or off."""
    found = _SWITCHES.get(str(value).lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def one_of(kind: type[E]) -> Reader[E]:
    """Return what reads a member of an enumeration."""

    def read(value: object) -> E:
        try:
            return kind(text(value))
        except ValueError:
            raise ValueError(f"must be {listed(kind, 'or')}") from None

    return read


def integer(least: int, most: int | None = None) -> Reader[int]:
    """Return what reads a whole number between two others, or one that is no less than the one."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"

    def read(value: object) -> int:
        number = _number(value)
        if not number.is_integer() or number < least or (most is not None and number > most):
            raise ValueError(f"must be a whole number {limits}")
        return int(number)

    return read


def at_least(least: float) -> Reader[float]:
    """Return what reads a number that is no less than another."""

    def read(value: object) -> float:
        number = _number(value)
        if not number >= least:
            raise ValueError(f"must be a number of at least {least:g}")
        return number

    return read


def between(least: float, most: float) -> Reader[float]:
    """Return what reads a number between two others."""

    def read(value: object) -> float:
        number = _number(value)
        if not least <= number <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}")
        return number

    return read


def positive(value: object) -> float:
    """Read a number that is greater than 0."""
    number = _number(value)
    if not number > 0:
        raise ValueError("must be a number greater than 0")
    return number


def _number(value: object) -> float:
    """Return a number; not a number (NaN), which no comparison lets pass, for what is none."""
    if isinstance(value, str | int | float):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    return float("nan")


def rate(value: object) -> tuple[int, float]:
    """Read `20/minute` as (20, 60.0)."""
    match value:
        case str():
            found = re.fullmatch(r"\s*(\d+)\s*/\s*(second|minute|hour|day)\s*", value)
            limit, period = (int(found[1]), _PERIODS[found[2]]) if found else (-1, 0.0)
        case (int(limit), int() | float() as period):
            pass
        case _:
            limit, period = -1, 0.0
    if limit < 0 or not period > 0:
        raise ValueError("must look like 20/minute (second, minute, hour or day)")
    if not limit:
        raise ValueError("must let at least one through, as 20/minute does; empty for no limit")
    return limit, float(period)


def optional(read: Reader[T]) -> Reader[T | None]:
    """Return what reads a value that may be missing: None, or an empty text."""
    return lambda value: None if value in (None, "") else read(value)


def that(read: Reader[T], *checks: Callable[[T], T]) -> Reader[T]:
    """Return what reads a value and has it checked; a check returns what is to be used."""

    def checked(value: object) -> T:
        found = read(value)
        for check in checks:
            found = check(found)
        return found

    return checked
