"""The people: each sends the next message of a conversation when the last was answered 200.

What was not answered 200 is sent again with the same MessageSid, as Twilio does when connection
overrides ask for it, until it is.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from offhook.twilio.simulator import (
    Credentials,
    Text,
    WebhookCall,
    WebhookClient,
    WebhookResponse,
    inbound,
)
from tests.crash.line import NUMBER
from tests.crash.plan import Load, Utterance
from tests.crash.waiting import wait_for

OK = 200

# One attempt a request: what comes after a failure is decided here. A request waits for as long as
# Twilio's does, in the socket's backlog if need be.
_ONCE = "#rc=0&rt=15000&tt=15000"

_AGAIN = (0.05, 0.4)  # seconds until a message is sent again


@dataclass(slots=True)
class Tally:
    """What came of the webhooks.

    Attributes:
        acknowledged: in the order of the acknowledgements.
        seconds: how long each acknowledging answer took.
        repeats: deliveries beyond the first of each message.
        answers: how often each status came; 0 stands for no answer.
    """

    acknowledged: list[Utterance] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    repeats: int = 0
    answers: Counter[int] = field(default_factory=Counter)


class People:
    """Everybody who writes to the bot.

    Args:
        urls: of the ingresses; copies of one webhook go to different ones.
        rng: draws how many copies there are, and where they go.
    """

    def __init__(
        self, credentials: Credentials, urls: Sequence[str], load: Load, rng: random.Random
    ) -> None:
        self.tally = Tally()
        self._credentials = credentials
        self._urls = urls
        self._load = load
        self._rng = rng
        self._pausing: list[asyncio.Event] = []

    async def say(self, script: Sequence[Sequence[Utterance]]) -> None:
        """Have all conversations, each in order."""
        line = WebhookClient(self._credentials.auth_token)
        try:
            async with asyncio.TaskGroup() as group:
                for conversation in script:
                    group.create_task(self._converse(line, conversation))
        finally:
            await line.close()

    def rush(self) -> None:
        """Let many of those who pause write at once: a kill is to meet webhooks under way."""
        for hurry in self._pausing:
            if self._rng.random() < self._load.rush:
                hurry.set()

    async def _pause(self, seconds: float) -> None:
        hurry = asyncio.Event()
        self._pausing.append(hurry)
        await wait_for(hurry, seconds)
        self._pausing.remove(hurry)

    async def _converse(self, line: WebhookClient, conversation: Sequence[Utterance]) -> None:
        for utterance in conversation:
            await self._pause(utterance.pause)
            while not await self._deliver(line, utterance):
                self.tally.repeats += 1
                await asyncio.sleep(self._rng.uniform(*_AGAIN))
            self.tally.acknowledged.append(utterance)

    async def _deliver(self, line: WebhookClient, utterance: Utterance) -> bool:
        """Deliver a webhook once, or several times at once; return whether it was acknowledged."""
        urls = self._rng.sample(self._urls, k=self._rng.choice(self._load.copies))
        answers = await asyncio.gather(*(line.request(self._call(utterance, url)) for url in urls))
        self.tally.repeats += len(answers) - 1
        for answer in answers:
            self._note(answer)
        return any(answer.status == OK for answer in answers)

    def _note(self, answer: WebhookResponse) -> None:
        self.tally.answers[answer.status] += 1
        if answer.status == OK:
            self.tally.seconds.append(answer.seconds)

    def _call(self, utterance: Utterance, url: str) -> WebhookCall:
        text = Text(
            sid=utterance.sid,
            account_sid=self._credentials.account_sid,
            from_=utterance.sender,
            to=NUMBER,
            body=utterance.body,
        )
        token = f"{utterance.sid}-{self._rng.getrandbits(32):08x}"
        return WebhookCall(f"{url}/twilio/messages{_ONCE}", inbound(text), token)
