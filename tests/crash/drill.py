"""A crash test from its start to its verdict."""

import asyncio
import os
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from offhook.concurrency import cancel_and_wait
from offhook.core.keys import Kind
from offhook.settings import Settings
from offhook.twilio.simulator import Credentials, Simulator
from testing.commands import Home
from tests.crash import journal
from tests.crash.accounts import Accounts
from tests.crash.bystander import Bystander, Database
from tests.crash.evidence import Evidence
from tests.crash.fleet import Fleet
from tests.crash.killer import Killer
from tests.crash.line import RestSide
from tests.crash.lookup import look_up
from tests.crash.plan import Load, blows, script
from tests.crash.senders import People
from tests.crash.verdict import Verdict

# Seconds. A worker that a busy machine keeps waiting for longer loses its runs, which others repeat
# although nothing was killed. It may be long: the leases of what was killed are taken over. What
# is not taken over must run out within a test's patience.
LEASE = 120

_BOT = Path(__file__).with_name("bot.py")


@dataclass(frozen=True, slots=True)
class Drill:
    """What a crash test runs on.

    Attributes:
        directory: empty; the bot's.
        store: the URL of the store.
        database: the same, for an operator who looks at it all the while.
        fleet: makes the processes under test, from the bot's home.
        complaints: called at the end, for what else was found wrong.
    """

    directory: Path
    load: Load
    seed: int
    store: str
    database: Database
    fleet: Callable[[Home], Fleet]
    complaints: Callable[[], Sequence[str]] = tuple

    def verdict(self, title: str) -> Verdict:
        """Run it, print how far it is and the counts, and return them."""
        _tell(f"\n{title}, CRASH_SEED={self.seed}")
        verdict = Verdict.of(asyncio.run(self.run()))
        _tell(f"{verdict}")
        return verdict

    async def run(self) -> Evidence:
        """Let people talk while processes are killed; return all that was seen once it is over."""
        credentials = Simulator.credentials()
        rest = RestSide(credentials, self.seed)
        home = self._home(credentials, rest)
        fleet = self.fleet(home)
        people = People(credentials, fleet.urls, self.load, random.Random(self.seed))
        said = script(self.load, random.Random(self.seed))
        accounts, bystander = Accounts(self.store), Bystander(home, self.database)

        async def check() -> None:
            bystander.complaints += await asyncio.to_thread(fleet.deleted)
            await bystander.check()

        async with rest.open(), _running(fleet):
            killer = Killer(
                fleet,
                accounts,
                random.Random(self.seed),
                rush=people.rush,
                has_run=lambda pids: journal.has_run(self._journal, pids),
                check=check,
                tell=lambda far: _tell(f"  {far}, {len(people.tally.acknowledged)} acknowledged"),
            )
            began = time.monotonic()
            looking = asyncio.create_task(bystander.work())
            async with asyncio.TaskGroup() as group:
                group.create_task(people.say(said))
                group.create_task(killer.work(blows(self.load, random.Random(self.seed))))
            rest.behave()
            with suppress(TimeoutError):  # the verdict says what is not settled
                await accounts.until_settled()
                await rest.reports_are_in()
                await accounts.until_settled()
            seconds = time.monotonic() - began
            await cancel_and_wait(looking)
            await check()
            messages = await accounts.messages()
            sends = await accounts.sends(messages)
            requests, accepted = list(rest.requests), dict(rest.accepted)
            await look_up(self.store, self._settings(credentials, rest))
            with suppress(TimeoutError):
                await accounts.until_settled()
            in_the_end = await accounts.sends(messages)
            return Evidence(
                load=self.load,
                script=[utterance for conversation in said for utterance in conversation],
                tally=people.tally,
                journal=journal.read(self._journal),
                messages=messages,
                statuses=await accounts.messages(Kind.STATUS),
                sends=sends,
                requests=requests,
                accepted=accepted,
                kills=killer.kills,
                refusals=rest.refusals,
                seconds=seconds,
                visits=bystander.visits,
                complaints=[*self.complaints(), *bystander.complaints],
                arrived=dict(rest.accepted),
                rows_in_the_end=[send for sends in in_the_end.values() for send in sends],
            )

    def _settings(self, credentials: Credentials, rest: RestSide) -> Settings:
        account_sid, auth_token = credentials
        return Settings.load(
            env_file=None, account_sid=account_sid, auth_token=auth_token, twilio_api=rest.url
        )

    @property
    def _journal(self) -> Path:
        return self.directory / "journal"

    def _home(self, credentials: Credentials, rest: RestSide) -> Home:
        return Home(
            self.directory,
            _BOT.read_text(),
            TWILIO_ACCOUNT_SID=credentials.account_sid,
            TWILIO_AUTH_TOKEN=credentials.auth_token,
            OFFHOOK_STORE=self.store,
            OFFHOOK_TWILIO_API=rest.url,
            OFFHOOK_LEASE=str(LEASE),
            OFFHOOK_UNKNOWN_SENDS="leave",  # until the end, when the harness has them looked up
            OFFHOOK_LOOP_LIMIT="1000/minute",  # these people talk faster than any
            CRASH_JOURNAL=str(self._journal),
        )


def seed() -> int:
    """Return the seed that is asked for in the environment, else a new one."""
    return int(os.environ.get("CRASH_SEED") or secrets.randbits(32))


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@asynccontextmanager
async def _running(fleet: Fleet) -> AsyncIterator[None]:
    try:
        await asyncio.to_thread(fleet.start)
        yield
    finally:
        await asyncio.to_thread(fleet.stop)
