"""Values as columns can hold them."""

from hashlib import blake2b

from offhook.core.texts import well_formed


def storable(text: str) -> str:
    """Return a text as a column can hold it.

    PostgreSQL's text does not know NUL either. A form may hold it, and is itself stored as the
    bytes that came.
    """
    return well_formed(text).replace("\0", "\N{REPLACEMENT CHARACTER}")


def lane_key(lane: str) -> bytes:
    """Return the 16 bytes that stand for a lane; a collision would not be detected."""
    return blake2b(storable(lane).encode(), digest_size=16).digest()
