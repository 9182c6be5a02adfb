"""The addresses of one person."""

from collections.abc import Sequence

from offhook.core.addresses import channel_of, folded
from offhook.stores.api import Conversations


async def addresses_in_channel(store: Conversations, address: str) -> Sequence[str]:
    """Return the addresses under which a person is known in the channel of an address.

    On WhatsApp these may be a number and user ids, elsewhere it is the address alone.

    Raises:
        StoreUnavailable: the store can't be read.
    """
    if channel_of(address) != "whatsapp":
        return (address,)
    known = await store.addresses_of(address)
    return [one for one in known if channel_of(one) == "whatsapp" and folded(one) == one]
