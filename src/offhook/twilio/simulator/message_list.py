"""The filters and the order of the simulated Twilio's message list.

https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from email.utils import parsedate_to_datetime
from operator import eq, ge, le
from typing import Any, Final

_FILTERS: Final[Mapping[str, str]] = {"To": "to", "From": "from"}
_DATES: Final[Mapping[str, Callable[[date, date], bool]]] = {
    "DateSent": eq,
    "DateSent>": ge,
    "DateSent<": le,
}


def selected(
    records: Sequence[Mapping[str, Any]], query: Mapping[str, str]
) -> Sequence[Mapping[str, Any]]:
    """Return the messages that fit, those sent last first.

    One that has not been sent yet comes last, and fits no date: what Twilio does with these is not
    documented, and this is what a client has to be ready for.
    """
    fitting = [record for record in records if _fits(record, query)]
    return sorted(fitting, key=_sent_at, reverse=True)


def _fits(record: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    if any(query.get(name, record[field]) != record[field] for name, field in _FILTERS.items()):
        return False
    wanted = {name: query[name] for name in _DATES if name in query}
    if not wanted:
        return True
    if record["date_sent"] is None:
        return False
    sent = parsedate_to_datetime(record["date_sent"]).date()
    return all(_DATES[name](sent, date.fromisoformat(day)) for name, day in wanted.items())


def _sent_at(record: Mapping[str, Any]) -> float:
    sent = record["date_sent"]
    return 0.0 if sent is None else parsedate_to_datetime(sent).timestamp()
