"""Sample contacts of the simulated phone."""

from typing import Final, NamedTuple


class Contact(NamedTuple):
    """A fictional contact.

    Attributes:
        address: a number reserved for fiction, with its channel's prefix.
    """

    name: str
    address: str


INITIAL_CONTACTS: Final = (
    Contact("Ada", "+15551230001"),
    Contact("Grace", "whatsapp:+15551230002"),
    Contact("Alan", "+15551230003"),
)
"""The contacts whose conversations are open from the start."""

CROWD: Final = tuple(Contact(f"Caller {n}", f"+155512390{n:02}") for n in range(1, 21))
"""The contacts of "20 people write at once"."""

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
    """Return the name of a contact, or else the number."""
    return _KNOWN.get(address) or address.rpartition(":")[2]
