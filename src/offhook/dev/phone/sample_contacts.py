"""The people in the phone book: whoever writes first can be somebody."""

from typing import Final, NamedTuple


class Contact(NamedTuple):
    """A made-up person.

    Attributes:
        address: a number of those set aside for fiction, with its channel's prefix.
    """

    name: str
    address: str


INITIAL_CONTACTS: Final = (
    Contact("Ada", "+15551230001"),
    Contact("Grace", "whatsapp:+15551230002"),
    Contact("Alan", "+15551230003"),
)
"""Those whose conversations are there before anybody has written."""

CROWD: Final = tuple(Contact(f"Caller {n}", f"+155512390{n:02}") for n in range(1, 21))
"""Those who write all at once."""

_KNOWN: Final = {
    person.address: person.name
    for person in (
        *INITIAL_CONTACTS,
        *CROWD,
        Contact("Grace", "+15551230002"),
        Contact("Katherine", "+15551230004"),
        Contact("Edsger", "+15551230005"),
    )
}


def name_of(address: str) -> str:
    """Return what somebody is called: by name, or else by number."""
    return _KNOWN.get(address) or address.rpartition(":")[2]
