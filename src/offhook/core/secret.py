"""A text that may not be shown: a token, a password, or a URL with one in it."""

from typing import final


@final
class SecretStr:
    """A text that is masked wherever it is shown: in logs, in errors, in a `repr`.

    An empty one is false. The name and the method are pydantic's.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"SecretStr({'**********' if self._text else ''!r})"
