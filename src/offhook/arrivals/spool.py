"""The spool: the arrivals logs of a machine's ingresses, where the store is on other machines."""

from contextlib import suppress
from pathlib import Path

from offhook.arrivals.log import ArrivalsLog
from offhook.arrivals.logs import Logs
from offhook.arrivals.mark import Mark, SharedClock
from offhook.arrivals.old_spool import OldSpool
from offhook.arrivals.reader import Round
from offhook.arrivals.record import Arrival
from offhook.core.inbound import Webhook
from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.stores.sqlite.files import beside


class Spool:
    """The logs beside a path, one for each ingress process. For one event loop.

    What a log holds is yet to be forwarded: what has been is removed, whoever wrote it.

    Args:
        path: that OFFHOOK_SPOOL names, on a disk of this machine.
        observer: called when a log can't be read, or had to be put aside or copied; and with each
            webhook that was set aside.

    Attributes:
        logs: of all processes.
        clock: by which webhooks are received, in all processes.
    """

    def __init__(self, path: Path, observer: Observer) -> None:
        self._path = path
        self._old = OldSpool(path, observer)
        self._mark = Mark(beside(path, "-mark"))
        self._log = ArrivalsLog(path, observer, self._committed)
        self._empty_at: bytes | None = None
        # How far logs have been forwarded that could not be trimmed: a full disk takes no deletion.
        self._positions: dict[bytes, int] = {}
        self.clock = SharedClock(beside(path, "-clock"))
        self.logs = Logs(path, self.clock.now, observer, role="forwarder")

    async def open(self, *, writes: bool = True) -> None:
        """Open the logs.

        Args:
            writes: whether this process keeps webhooks too. It takes the log of a process that has
                died, or makes one.

        Raises:
            StoreUnavailable: they can't be used.
            SchemaTooNew: a newer offhook has written them.
        """
        try:
            self.clock.open()
            self._mark.open()
            if writes:
                await self._log.open()
                # A process that died may have appended to it, and not have changed the mark.
                if await self.look(1):
                    self._mark.change()
        except OSError as error:
            await self.close()
            raise StoreUnavailable(f"cannot open the spool: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Append what was begun, and close. May be called twice."""
        await self._log.close()
        await self.logs.close()
        self._mark.close()

    async def append(self, webhook: Webhook) -> bool:
        """Keep a webhook durably. Whether it is new is known when it is forwarded: always True.

        Raises:
            StoreUnavailable: it can't be kept, or other processes not be told.
        """
        await self._log.append(Arrival(webhook, self.clock.now()))
        try:
            self._mark.change()
        except OSError as error:  # it is durable, but other processes might overtake it
            raise StoreUnavailable(f"cannot write beside {self._path}: {error}") from error
        return True

    def is_empty(self) -> bool:
        """Return whether the spool is known to hold nothing. Asked for each webhook; takes no time.

        Never true while it holds a webhook for which `append` has returned, in any process.
        """
        return self._empty_at is not None and self._empty_at == self._mark.read()

    async def look(self, at_most: int) -> int:
        """Return how many webhooks it holds. From `at_most` in a log on, more may be left out.

        Raises:
            StoreUnavailable: a log can't be read.
        """
        mark = self._mark.read()  # before looking: what comes in meanwhile changes it
        number = (await self.logs.waiting(self._positions, at_most)).number
        number += await self.logs.do(self._old.count)
        self._empty_at = None if number else mark
        return number

    async def read(self, limit: int) -> Round:
        """Return what is to be forwarded next. See `LogReader.read`.

        Raises:
            StoreUnavailable: a log can't be read.
        """
        # Until the last process of that version has ended, it may hold something again.
        await self.logs.do(self._old.move, self._path, self.clock.now)
        return await self.logs.read(self._positions, limit)

    async def forget(self, found: Round) -> None:
        """Remove what has been forwarded.

        Raises:
            StoreUnavailable: it could not be removed. In this process it counts as removed.
        """
        self._positions |= found.positions
        await self.logs.trim(self._positions)

    async def tidy(self) -> None:
        """Do what keeps the logs small, and findable. Raises nothing."""
        with suppress(StoreUnavailable):  # the next webhook finds that out
            await self._log.look()
            await self._log.trim({})
        if self.logs.leading:
            await self.logs.tend(self._positions)

    async def check(self) -> None:
        """Write to the disk, as for a webhook, but keep nothing.

        Raises:
            StoreUnavailable: it can't be written.
        """
        await self._log.check()

    def _committed(self) -> None:
        """Change the mark for what was cancelled while it was being committed, too."""
        with suppress(OSError):  # what is acknowledged has changed it
            self._mark.change()
