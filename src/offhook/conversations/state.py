"""The state of a conversation: a mapping of JSON values, bounded in size."""

import json
import math
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

from offhook.errors import InvalidState

MAX_BYTES: Final = 256 * 1024
"""Bytes of a state as JSON. It is read with every message of its conversation."""

_DEEPEST: Final = 100  # levels
_SHOWN: Final = 200  # characters of a value
_BITS: Final = 1024  # of an int: as many as the largest float


class State(MutableMapping[str, Any]):
    """What handlers remember of one conversation, by names.

    Values are what JSON has: `str`, `int`, `float`, `bool`, `None`, lists, and dicts with `str`
    keys. Lists and dicts may be changed in place.

    Args:
        values: as they were saved.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        check(name, value)
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"State({self._values!r})"

    def matches(self, wanted: Mapping[str, Any]) -> bool:
        """Return whether it has these values; None stands for a name that is not there, too."""
        return all(self._values.get(name) == value for name, value in wanted.items())

    def encoded(self) -> bytes:
        """Return it as JSON; empty if it has nothing.

        Raises:
            InvalidState: it is too large, or a value that was changed in place is not JSON.
        """
        for name, value in self._values.items():
            check(name, value)
        if not self._values:
            return b""
        encoded = _encoded(self._values)
        if len(encoded) > MAX_BYTES:
            sizes = {name: len(_encoded(value)) for name, value in self._values.items()}
            largest = max(sizes, key=sizes.__getitem__)
            raise InvalidState(
                f"the state has {len(encoded):,} bytes as JSON, and {MAX_BYTES:,} at most: "
                f"state[{largest!r}] has {sizes[largest]:,}"
            )
        return encoded


def decoded(value: bytes) -> State:
    """Return a state from what `State.encoded` made of it."""
    return State(json.loads(value) if value else {})


def shown(value: bytes) -> list[tuple[str, str]]:
    """Return the keys of a saved state with their values, as people read them, shortened."""
    return [(name, _brief(one)) for name, one in decoded(value).items()]


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def check(name: object, value: object) -> None:
    """Refuse what is not JSON.

    Raises:
        InvalidState: naming the key.
    """
    if not isinstance(name, str):
        raise InvalidState(f"the names of a state are str, not {type(name).__name__}")
    _check(value, f"state[{name!r}]", 1)


def _check(value: object, place: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise InvalidState(f"{place[: place.find(']') + 1]} is nested more than {_DEEPEST} deep")
    match value:
        case list():
            for number, one in enumerate(value):
                _check(one, f"{place}[{number}]", depth + 1)
        case dict():
            for key, one in value.items():
                if not isinstance(key, str):
                    raise InvalidState(f"{place} has a key of type {type(key).__name__}: use str")
                _check(one, f"{place}[{key!r}]", depth + 1)
        case _ if wrong := _wrong(value):
            raise InvalidState(f"{place} is {wrong}")


def _wrong(value: object) -> str:
    """Return what is wrong with a value that has no others in it; empty for nothing."""
    match value:
        case None | bool() | str():
            return ""
        case int():  # Python would not read a longer one again: sys.set_int_max_str_digits
            bits = value.bit_length()
            return f"an int of {bits:,} bits: {_BITS:,} at most" if bits > _BITS else ""
        case float():
            return "" if math.isfinite(value) else f"{value}, which JSON does not have"
    return (
        f"of type {type(value).__name__}: a state holds what JSON has "
        "(str, int, float, bool, None, list, dict)"
    )


def _encoded(value: object) -> bytes:
    # As `json.loads` reads it: a lone surrogate comes back as it was.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
