"""The inbox's query parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlencode

from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.core.search import Phrase
from offhook.errors import ConfigurationError
from offhook.stores.api import Filter

_SID: Final = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
_ADDRESS: Final = re.compile(r"(?:\w+:.*|\+[\d\s().-]+)")
_ID: Final = re.compile(r"#(\d{1,18})")
_MAX_QUERY: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """A query of the inbox.

    Attributes:
        q: as it was typed: a number, a SID, `#17`, or words.
        reveal: show phone numbers and texts.
        error: the type of the error, or an explanation, as it is shown unrevealed.
    """

    q: str = ""
    state: State | None = None
    error: str = ""
    kind: Kind | None = Kind.MESSAGE
    before: int | None = None
    reveal: bool = False

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Self:
        """Read a query.

        Raises:
            ConfigurationError: it has an unknown value.
        """
        get = query.get
        kind = get("kind", Kind.MESSAGE)
        try:
            return cls(
                q=get("q", "").strip()[:_MAX_QUERY],
                state=State(get("state", "")) if get("state") else None,
                kind=None if kind == "all" else Kind(kind),
                before=int(get("before", "")[:18]) if get("before") else None,
                reveal=get("reveal") == "1",
                error=get("error", "")[:_MAX_QUERY],
            )
        except ValueError:
            raise ConfigurationError("the URL of this page holds an unknown filter") from None

    @property
    def id(self) -> int | None:
        """The message's number, if one was entered."""
        match = _ID.fullmatch(self.q)
        return int(match[1]) if match else None

    @property
    def sid(self) -> str:
        """The SID, if one was entered."""
        return self.q if _SID.fullmatch(self.q) else ""

    @property
    def address(self) -> str:
        """The person's address in any channel, if one was entered."""
        return self.q if _ADDRESS.fullmatch(self.q) and not self.sid else ""

    @property
    def phrase(self) -> Phrase | None:
        """The words, if any were entered."""
        if not self.q or self.sid or self.address or self.id is not None:
            return None
        return Phrase.of(self.q)

    def filter(self, *, limit: int) -> Filter:
        """Return the filter of all but the words."""
        return Filter(
            state=self.state,
            kind=self.kind,
            sender=self.address,
            sid=self.sid,
            before_id=self.before,
            limit=limit,
        )

    def query(self, **changes: Any) -> str:
        """Return this query's URL parameters with changes; a change to None removes one."""
        kind = "all" if self.kind is None else self.kind
        asked: dict[str, Any] = {
            "q": self.q,
            "state": self.state,
            "error": self.error,
            "kind": None if kind == Kind.MESSAGE else kind,
            "reveal": "1" if self.reveal else None,
            **changes,
        }
        return urlencode({name: str(value) for name, value in asked.items() if value})
