"""What a crash test does: how much is said, what is killed, and when. Drawn from one seed."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What the bot does with a message; the message's text names it."""

    RETURN = "return"  # replies by what it returns
    THREAD = "thread"  # the same, from a `def` handler
    REPLY = "reply"  # replies by message.reply
    SILENT = "silent"  # says nothing
    FLAKY = "flaky"  # replies, then fails at the first attempt
    DISCARD = "discard"  # raises Discard
    BROKEN = "broken"  # fails at every attempt, of which it has two


_SHARES = {
    Action.RETURN: 30,
    Action.THREAD: 15,
    Action.REPLY: 25,
    Action.SILENT: 15,
    Action.FLAKY: 7,
    Action.DISCARD: 5,
    Action.BROKEN: 3,
}


_LAST_MINUTE = 60.0

# People who write at once. More would keep this harness busier than the servers that it kills.
_CROWD = 30


class Target(StrEnum):
    """What a kill hits."""

    INGRESS = "ingress"
    WORKER = "worker"
    ALL_BUT_ONE = "all but one"  # the processes of a supervisor, but for one worker
    MACHINE = "machine"  # a supervisor with its processes, as a power cut does, but for the disk
    STORE = "store"  # the database server


@dataclass(frozen=True, slots=True)
class Load:
    """How much is said, and how hard it is killed.

    Attributes:
        messages: in all; each conversation has its share of them.
        seconds: over which they, and the kills, are spread.
        kills: of single processes, half of them ingresses, half workers.
        group_kills: of all processes of a supervisor at once, but for one worker.
        machine_kills: of supervisors with all their processes. None in the last minute of a long
            run, nor after the first quarter of a short one: the leases of sends that nobody
            releases have to run out.
        store_stops: how often the database server is stopped at once, and started.
        copies: how often a webhook may be delivered at the same time; drawn for each.
    """

    messages: int
    conversations: int
    seconds: float
    kills: int
    group_kills: int = 0
    machine_kills: int = 0
    store_stops: int = 0
    copies: tuple[int, ...] = (1,)

    @classmethod
    def of(
        cls, kills: int, *, pace: float, group_kills: int = 0, store_stops: int = 0, **more: Any
    ) -> "Load":
        """Return a long one.

        Args:
            kills: in all; one in eight hits everything on a machine.
            pace: seconds between two of them.
            group_kills: how many of them hit all but one.
            store_stops: how many of them stop the database server.
            more: as of a load.
        """
        machines = kills // 8
        return cls(
            messages=100 * kills,
            conversations=500,
            seconds=pace * kills,
            kills=kills - machines - group_kills - store_stops,
            group_kills=group_kills,
            machine_kills=machines,
            store_stops=store_stops,
            **more,
        )

    @property
    def blows(self) -> int:
        """How many kills there are in all."""
        return self.kills + self.group_kills + self.machine_kills + self.store_stops

    @property
    def rush(self) -> float:
        """Which share of the people writes at once at each kill."""
        return min(_CROWD, self.messages / 2 / self.blows) / self.conversations


@dataclass(frozen=True, slots=True)
class Utterance:
    """A message that a person is going to send."""

    sid: str
    conversation: int
    number: int
    action: Action
    pause: float

    @property
    def body(self) -> str:
        return f"{self.conversation} {self.number} {self.action}"

    @property
    def sender(self) -> str:
        return sender(self.conversation)


def sender(conversation: int) -> str:
    """Return the number of the person who has a conversation."""
    return f"+1555{conversation:07d}"


@dataclass(frozen=True, slots=True)
class Blow:
    """A kill to come, and when."""

    after: float
    target: Target


def script(load: Load, rng: random.Random) -> list[list[Utterance]]:
    """Return what is said in each conversation, in order."""
    each, rest = divmod(load.messages, load.conversations)
    return [
        [
            _utterance(conversation, number, load.seconds / (each + 1), rng)
            for number in range(each + (conversation < rest))
        ]
        for conversation in range(load.conversations)
    ]


def blows(load: Load, rng: random.Random) -> list[Blow]:
    """Return the kills, in order of their time."""
    seconds = load.seconds
    single = [
        Blow(rng.uniform(0.1, 1) * seconds, Target.WORKER if n % 2 else Target.INGRESS)
        for n in range(load.kills)
    ]
    groups = [
        Blow(rng.uniform(0.1, 1) * seconds, Target.ALL_BUT_ONE) for _ in range(load.group_kills)
    ]
    latest = max(0.25, 1 - _LAST_MINUTE / seconds)
    whole = [
        Blow(rng.uniform(0.05, latest) * seconds, Target.MACHINE) for _ in range(load.machine_kills)
    ]
    stops = [Blow(rng.uniform(0.1, 1) * seconds, Target.STORE) for _ in range(load.store_stops)]
    return sorted((*single, *groups, *whole, *stops), key=lambda blow: blow.after)


def _utterance(conversation: int, number: int, pause: float, rng: random.Random) -> Utterance:
    (action,) = rng.choices(list(_SHARES), list(_SHARES.values()))
    return Utterance(
        sid=f"SM{rng.getrandbits(128):032x}",
        conversation=conversation,
        number=number,
        action=action,
        pause=rng.uniform(0.2, 1.6) * pause,
    )
