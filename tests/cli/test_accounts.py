"""Separate accounts: each sends with its own credentials, and the trouble of one is its own.

Invariant: nothing leaves with another account's credentials; what waits leaves once, in order.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from offhook.twilio.simulator import RestCall, Simulator, served_together
from testing.commands import PATIENCE, Call, Home
from testing.ports import free_port
from testing.roles import Site, listening
from tests.cli.test_delivered import TOKEN, Operator

ANN = "+15551230001"

# Where the accounts are kept is the bot's own business: here, in a file.
BOT = """
import json, os
from pathlib import Path

from offhook import AccountCredentials, Message, Offhook

app = Offhook()

@app.credentials
async def credentials(account_sid: str) -> AccountCredentials | None:
    found = json.loads(Path(os.environ["ACCOUNTS"]).read_text()).get(account_sid)
    if found == "away":
        raise ConnectionError("the vault is away")
    return AccountCredentials(**found) if found else None

@app.message()
async def answer(message: Message) -> str:
    await app.send(message.from_, f"to {message.body}", from_=message.to)
    return f"re {message.body}"
"""


class Tenant:
    """A simulated account."""

    def __init__(self, number: str, url: str) -> None:
        self.sid, self.token = Simulator.credentials()
        self.number = number
        webhook = f"{url}/twilio/messages"
        self.twilio = Simulator(
            account_sid=self.sid, auth_token=self.token, number=number, webhook_url=webhook
        )
        self._users: list[str] = []
        self._sent = asyncio.Event()

    def note(self, event: object) -> None:
        if isinstance(event, RestCall):
            self._users.append(event.user)
            self._sent.set()

    async def sent_as(self, *users: str) -> None:
        """Wait for messages, and check what each was sent as."""
        async with asyncio.timeout(PATIENCE):
            while len(self._users) < len(users):
                self._sent.clear()
                await self._sent.wait()
        assert self._users == list(users)

    @property
    def bodies(self) -> list[str]:
        return [sent.body for sent in self.twilio.sent]

    async def text(self, body: str) -> None:
        assert (await self.twilio.text(body, from_=ANN)).status == 200

    async def sent(self, body: str) -> None:
        """Wait until the bot has sent a text."""
        async with asyncio.timeout(PATIENCE):
            await self.twilio.wait_for(lambda sent: sent.body == body)


class Vault:
    """Where the bot finds credentials."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.secrets: list[str] = []
        self._accounts: dict[str, Any] = {}

    def put(self, tenant: Tenant, **credentials: str) -> None:
        self.secrets += [text for name, text in credentials.items() if name != "api_key"]
        self._write(tenant, credentials)

    def lose(self, tenant: Tenant) -> None:
        self._write(tenant, "away")

    def _write(self, tenant: Tenant, given: object) -> None:
        self._accounts[tenant.sid] = given
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self._accounts))
        new.replace(self.file)


class Tenants:
    """The settings' account, and three others.

    Attributes:
        own: of the settings.
        one: sends with its auth token.
        keyed: sends with an API key.
        late: whose credentials can't be had.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.all = [Tenant(f"+1500555000{digit}", url) for digit in range(4)]
        self.own, self.one, self.keyed, self.late = self.all
        self.vault = Vault(path / "accounts.json")
        self.vault.put(self.one, auth_token=self.one.token)
        self.vault.lose(self.late)
        self.key = self.new_key()

    def new_key(self) -> str:
        """Give an account another API key."""
        key, secret = self.keyed.twilio.add_api_key()
        self.vault.put(self.keyed, auth_token=self.keyed.token, api_key=key, api_key_secret=secret)
        return key


@asynccontextmanager
async def serving(
    path: Path, call_in: Callable[[Home], Call]
) -> AsyncIterator[tuple[Tenants, Operator]]:
    url = f"http://127.0.0.1:{free_port()}"
    tenants = Tenants(path, url)
    own, *others = (tenant.twilio for tenant in tenants.all)
    async with own, others[0], others[1], others[2], served_together(own, *others) as api:
        (path / "store").mkdir()
        environment = {
            "ACCOUNTS": str(tenants.vault.file),
            "TWILIO_ACCOUNT_SID": tenants.own.sid,
            "TWILIO_AUTH_TOKEN": tenants.own.token,
            "OFFHOOK_PUBLIC_URL": url,
            "OFFHOOK_TWILIO_API": api,
            "OFFHOOK_STORE": f"sqlite:///{path}/store/offhook.db",
            "OFFHOOK_SLOW_NOTICE": "",
            "OFFHOOK_SIGNATURE_TIMEOUT": "10",
            "OFFHOOK_ADMIN_BIND": "127.0.0.1:0",
            "OFFHOOK_DASHBOARD_TOKEN": TOKEN,
        }
        here = Site(path, own, BOT, **environment)
        with ExitStack() as noting, here.run() as machine:
            for tenant in tenants.all:
                noting.enter_context(tenant.twilio.listening(tenant.note))
            await listening(machine)
            home = Home(path / "run", BOT, **environment)
            yield tenants, Operator(home, call_in(home), machine)


async def test_each_account_sends_with_its_own_credentials(
    tmp_path: Path, call_in: Callable[[Home], Call]
) -> None:
    async with serving(tmp_path, call_in) as (tenants, operator):
        own, one, keyed, late = tenants.all
        for tenant in (own, one, keyed):
            await tenant.text("hello")
            await tenant.sent("re hello")
        key = tenants.key
        await keyed.sent_as(key, key)

        # Twilio refuses the credentials of one, and those of another can't be had.
        keyed.twilio.revoke_api_key(key)
        for body in ("first", "second"):
            await keyed.text(body)
        send = ("send", ANN, "late", "--account", late.sid, "--from", late.number)
        await operator.run(*send)
        await operator.until(pending(operator, keyed, 4, "20003"))
        await operator.until(pending(operator, late, 1, "can't be had"))
        assert await is_failing(operator)
        for tenant in (own, one):
            await tenant.text("next")
            await tenant.sent("re next")
        assert (keyed.bodies, late.bodies) == (["to hello", "re hello"], [])

        new = tenants.new_key()
        tenants.vault.put(late, auth_token=late.token)
        for tenant in (keyed, late):
            await operator.retry("pending", "--account", tenant.sid)
        await keyed.sent("re second")
        await late.sent("late")
        assert not await is_failing(operator)
        assert keyed.bodies[2:] == ["to first", "re first", "to second", "re second"]
        await keyed.sent_as(key, key, new, new, new, new)
        await late.sent_as(late.sid)
        for tenant in (own, one):
            await tenant.sent_as(*[tenant.sid] * 4)
            assert tenant.bodies == ["to hello", "re hello", "to next", "re next"]
    assert written(tmp_path, tenants.vault) == []


def pending(operator: Operator, tenant: Tenant, count: int, why: str) -> Callable[[], Any]:
    """Say whether so many sends of an account wait, and at least the first says why."""

    async def holds() -> bool:
        query = ("sends", "list", "--state", "pending", "--account", tenant.sid)
        found = await operator.run(*query)
        errors = [f"{one['error_code']} {one['error']}" for one in found if one["error"]]
        return len(found) == count and any(why in error and tenant.sid in error for error in errors)

    return holds


async def is_failing(operator: Operator) -> bool:
    metrics = await operator.metrics()
    return metrics("offhook_trouble_active", topic="credentials-unavailable") == 1


def written(path: Path, vault: Vault) -> list[Path]:
    """Return the files to which the bot's processes have written a secret of a tenant."""
    files = [file for file in path.rglob("*") if file.is_file() and file != vault.file]
    secrets = [secret.encode() for secret in vault.secrets]
    return [file for file in files if any(one in file.read_bytes() for one in secrets)]
