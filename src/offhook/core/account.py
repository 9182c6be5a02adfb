"""What offhook needs to know of a Twilio account: the tokens that sign, and how to log in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from offhook.errors import ConfigurationError


class Login(NamedTuple):
    """The user and the password of Twilio's REST API: an account and a token, or an API key."""

    user: str
    password: str

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"Login({self.user!r}, ...)"


@dataclass(frozen=True, slots=True)
class AccountCredentials:
    """The credentials of a separate account, for `@app.credentials` to return.

    Replies of the account are sent, and its files fetched, with these credentials: the API key if
    there is one, or else the account SID and the auth token.

    Attributes:
        auth_token: signs the account's webhooks; several while one is being rotated, the one that
            Twilio's REST API accepts first.
        api_key: the SID of an API key.
        api_key_secret: the secret of that key.

    Raises:
        ConfigurationError: there is no auth token, or half of an API key.
    """

    auth_token: str | Sequence[str] = field(repr=False)
    api_key: str = ""
    api_key_secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Check them: what is missing would be found out when the first reply is sent."""
        tokens = self.auth_token if isinstance(self.auth_token, Sequence) else (None,)
        if not all(isinstance(one, str) for one in (*tokens, self.api_key, self.api_key_secret)):
            raise ConfigurationError("AccountCredentials has a value that is not a str")
        if not self.auth_tokens:
            raise ConfigurationError("AccountCredentials has no auth_token")
        if bool(self.api_key) != bool(self.api_key_secret):
            raise ConfigurationError("AccountCredentials has half of an API key")

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The tokens that may have signed a webhook."""
        given = (self.auth_token,) if isinstance(self.auth_token, str) else self.auth_token
        return tuple(token for token in given if token)

    def login(self, account_sid: str) -> Login:
        """Return what the account logs in with."""
        if self.api_key:
            return Login(self.api_key, self.api_key_secret)
        return Login(account_sid, self.auth_tokens[0])
