"""One login for all accounts: a main account may act for its subaccounts.

https://www.twilio.com/docs/iam/api/subaccounts
"""

from offhook.core.account import Login
from offhook.settings import Settings


class SettingsLogin:
    """Implements `ports.Logins` with the settings' credentials."""

    def __init__(self, settings: Settings) -> None:
        self._login = settings.login

    async def login(self, _account_sid: str) -> Login:
        """Return the settings' login."""
        return self._login

    def refused(self, _account_sid: str) -> None:
        """Do nothing: settings are read once."""
