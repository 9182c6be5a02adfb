"""Validation of requests whose tokens have to be found first."""

from offhook.core.forms import Refusal
from offhook.credentials import Credentials
from offhook.ports import Inbound
from offhook.request import Request
from offhook.validation import Outcome, Validator


class Verifier:
    """Validates requests of any account.

    Args:
        validator: does so once the tokens are known.
        credentials: knows the tokens.
    """

    def __init__(self, validator: Validator, credentials: Credentials) -> None:
        self._validator = validator
        self._credentials = credentials

    def at_once(self, request: Request) -> Inbound | Outcome | None:
        """Return what to store, or why not; None when the tokens have to be found first."""
        tokens = self._credentials.everywhere
        if tokens is None and self._validator.signed:
            return None
        return self._validator.validate(request, tokens or ())

    async def is_signed(self, request: Request) -> bool:
        """Return whether a request bears a valid signature, whatever else it says.

        Raises:
            CredentialsUnavailable: the tokens can't be had at present.
        """
        tokens = self._credentials.everywhere
        if tokens is None:
            tokens = await self._credentials.find(self._validator.claimed_account(request))
        return self._validator.is_signed(request, tokens)

    async def verify(self, request: Request) -> Inbound | Outcome:
        """Return what to store, or why not.

        A token that does not fit is asked for again, in case it has been rotated, at most once a
        second for an account.

        Raises:
            CredentialsUnavailable: the tokens can't be had at present.
        """
        validated = self.at_once(request)
        if validated is not None:
            return validated
        account = self._validator.claimed_account(request)
        validated = self._validator.validate(request, await self._credentials.find(account))
        if _mismatches(validated):
            tokens = await self._credentials.renewed(account)
            if tokens is not None:
                return self._validator.validate(request, tokens)
        return validated


def _mismatches(validated: Inbound | Outcome) -> bool:
    return isinstance(validated, Outcome) and validated.answer.error == Refusal.SIGNATURE_MISMATCH
