"""The people in the phone book: whoever writes first can be somebody."""

from typing import Final, NamedTuple


class Person(NamedTuple):
    """A made-up person.

    Attributes:
        address: a number of those set aside for fiction, with its channel's prefix.
    """

    name: str
    address: str


AT_HAND: Final = (
    Person("Ada", "+15551230001"),
    Person("Grace", "whatsapp:+15551230002"),
    Person("Alan", "+15551230003"),
)
"""Those whose conversations are there before anybody has written."""

CROWD: Final = tuple(Person(f"Caller {n}", f"+155512390{n:02}") for n in range(1, 21))
"""Those who write all at once."""

_KNOWN: Final = {
    person.address: person.name
    for person in (
        *AT_HAND,
        *CROWD,
        Person("Grace", "+15551230002"),
        Person("Katherine", "+15551230004"),
        Person("Edsger", "+15551230005"),
    )
}


def name_of(address: str) -> str:
    """Return what somebody is called: by name, or else by number."""
    return _KNOWN.get(address) or address.rpartition(":")[2]
