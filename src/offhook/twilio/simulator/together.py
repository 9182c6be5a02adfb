"""The REST API of several simulated accounts at one address, as Twilio's is."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from offhook.twilio.simulator.payloads import API_VERSION
from offhook.twilio.simulator.rest_errors import UNAUTHENTICATED, user_of
from offhook.twilio.simulator.serving import serving
from offhook.twilio.simulator.simulator import Simulator

_ACCOUNT: Final = re.compile(rf"/{API_VERSION}/Accounts/(?P<sid>AC[0-9a-f]{{32}})[./]")


@asynccontextmanager
async def served_together(
    *simulators: Simulator, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve several accounts on one socket; the context yields the base URL.

    Each account takes its own credentials only: with another's, the answer is 401 (error 20003).

    Args:
        simulators: an account each.
        host: to listen on.
        port: to listen on; 0 for any free one.
    """
    async with serving(_Together(simulators), host=host, port=port) as url:
        for one in simulators:
            one.rest_url = url
        yield url


class _Together:
    """Passes requests to the account in their path, or else to the one that they log in as."""

    def __init__(self, simulators: Sequence[Simulator]) -> None:
        self._simulators = simulators

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _ACCOUNT.match(scope["path"])
        user = user_of(Request(scope))
        for one in self._simulators:
            if one.account.sid == named["sid"] if named else one.has_user(user):
                await one.rest(scope, receive, send)
                return
        await UNAUTHENTICATED.response()(scope, receive, send)
