"""People who write without a pause, from threads, and remember what was acknowledged."""

import http.client
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urlsplit

from offhook.core.signature import sign
from offhook.twilio.simulator import Credentials, Text, inbound
from testing.commands import until
from tests.crash.line import NUMBER

_PEOPLE: Final = 3
_PAUSE: Final = 0.03  # seconds between two messages of one of them

PERSON: Final = "+15551230001"
ERASED: Final = "+15551239999"
"""Sends a tenth of all messages, which are not looked for: an operator may erase them."""


class Crowd:
    """Writes within the context.

    Args:
        url: of the webhook.
        credentials: returns those that it believes now; another start may have others.

    Attributes:
        acknowledged: SIDs, in the order in which they were answered 200.
        refused: how many were answered otherwise.
    """

    def __init__(self, url: str, credentials: Callable[[], Credentials]) -> None:
        self.acknowledged: list[str] = []
        self.refused = 0
        self._url = url
        self._credentials = credentials
        self._account = credentials()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(_PEOPLE)]

    def until_more(self, count: int = 15, *, seconds: float = 5.0) -> None:
        """Wait until more has been acknowledged; not for ever, where nothing is."""
        goal, deadline = len(self.acknowledged) + count, time.monotonic() + seconds
        until(lambda: len(self.acknowledged) >= goal or time.monotonic() > deadline)

    def stop(self) -> None:
        """Let everybody finish. May be called twice."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _write(self) -> None:
        place = urlsplit(self._url)
        line = http.client.HTTPConnection(str(place.hostname), place.port, timeout=15)
        number = 0
        while not self._stopped.wait(_PAUSE):
            number += 1
            sid = f"SM{secrets.token_hex(16)}"
            sender = ERASED if number % 10 == 0 else f"{PERSON[:-1]}{number % 10}"
            try:
                status = self._deliver(line, place.path, sid, sender)
            except (OSError, http.client.HTTPException):
                line.close()  # nobody answered: it was killed, or starts just now
                continue
            if status != 200:
                self.refused += 1
                self._account = self._credentials()
            elif sender != ERASED:
                self.acknowledged.append(sid)
        line.close()

    def _deliver(self, line: http.client.HTTPConnection, path: str, sid: str, sender: str) -> int:
        account_sid, auth_token = self._account
        params = inbound(Text(sid=sid, account_sid=account_sid, from_=sender, to=NUMBER, body="hi"))
        signature = sign(url=self._url, params=params, auth_token=auth_token)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": signature,
        }
        line.request("POST", path, urlencode(params), headers)
        answer = line.getresponse()
        answer.read()
        return answer.status
