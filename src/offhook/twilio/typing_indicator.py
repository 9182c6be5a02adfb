"""WhatsApp's typing indicator: a person sees that an answer is being written.

https://www.twilio.com/docs/whatsapp/api/typing-indicators-resource
"""

import asyncio
from http import HTTPStatus
from typing import Final

from offhook.errors import CredentialsUnavailable, TwilioError
from offhook.events import Observer, Problem, Topic
from offhook.ports import Logins
from offhook.settings import Settings
from offhook.twilio.client import TwilioClient
from offhook.twilio.logins import SettingsLogin

PATH: Final = "/v2/Indicators/Typing.json"
CHANNEL: Final = "whatsapp"
"""The only channel of this version of the resource."""

LASTS: Final = 25.0
"""Seconds until it disappears; it does so earlier with the reply. Shown again within this time, it
stays as it is."""

_MOST: Final = 100  # requests at once; beyond, none is made


class TypingIndicator:
    """Shows typing indicators: in the background, once each, and without raising anything.

    Twilio marks the message as read. The first failure of each account is reported, and no other.

    Args:
        settings: `twilio_api` and the account's credentials.
        observer: called with the first failures.
        logins: of all accounts; None for the settings'.
    """

    def __init__(
        self, settings: Settings, observer: Observer, logins: Logins | None = None
    ) -> None:
        self._client = TwilioClient(settings)
        self._logins = logins or SettingsLogin(settings)
        self._observer = observer
        self._reported: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def show(self, message_sid: str, account_sid: str) -> None:
        """Show one to the sender of a WhatsApp message. On the event loop; never waits."""
        if len(self._tasks) < _MOST:
            task = asyncio.create_task(self._show(message_sid, account_sid))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is under way, and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.__aexit__()

    async def _show(self, message_sid: str, account_sid: str) -> None:
        fields = {"messageId": message_sid, "channel": CHANNEL}
        try:
            client = self._client.logged_in(await self._logins.login(account_sid))
            await client.post("messaging", PATH, fields)
        except (CredentialsUnavailable, TwilioError) as error:
            if isinstance(error, TwilioError) and error.status == HTTPStatus.UNAUTHORIZED:
                self._logins.refused(account_sid)
            if account_sid not in self._reported:
                self._reported.add(account_sid)
                self._observer(Problem(Topic.TYPING, f"a typing indicator was not shown: {error}"))
