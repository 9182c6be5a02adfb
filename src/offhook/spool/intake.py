"""Where a webhook goes: into the store, or into the spool."""

from offhook.errors import StoreUnavailable
from offhook.ports import Inbound, Intake, Spool
from offhook.spool.primary import Primary


class SpoolingIntake:
    """Stores webhooks in the store, and in the spool while that is away.

    Order: as long as the spool holds a lane, the lane's webhooks go there. So a webhook that
    comes after another one of its lane was acknowledged is stored after it, if one machine had
    them both. Across machines, those that were spooled may come late, and are marked.

    Args:
        primary: knows if the store is there.
        store: the way into it, that is `primary`, or what lets webhooks in to it.
        spool: open.
    """

    def __init__(self, primary: Primary, store: Intake, spool: Spool) -> None:
        self._primary = primary
        self._store = store
        self._spool = spool

    async def accept(self, inbound: Inbound) -> bool:
        """Store a webhook durably. See `ports.Intake`.

        Raises:
            StoreUnavailable: the spool can't take it either.
            BacklogFull: the store is there, and too many wait in it.
        """
        if self._primary.up and (self._spool.is_empty() or not await self._holds(inbound.lane)):
            try:
                return await self._store.accept(inbound)
            except StoreUnavailable:
                pass  # `primary` has told it
        return await self._spool.accept(inbound)

    async def _holds(self, lane: str) -> bool:
        try:
            return await self._spool.holds(lane)
        except StoreUnavailable:
            return False  # the store has it then, perhaps out of order: better than nobody
