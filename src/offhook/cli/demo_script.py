"""The conversation of `offhook demo`, and the expected outcome of each part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offhook.core.lifecycle import State
from offhook.dev.control import SendTextRequest
from offhook.dev.conversation import Acknowledged, Replied, Settled, TextEvent
from offhook.settings import Settings
from offhook.stores.rows import SLOW_NOTICE
from offhook.terminal import milliseconds

ACKNOWLEDGE_WITHIN: Final = 0.5
"""Seconds: offhook's own limit, on any machine. Twilio waits for 15: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A message and its expected outcome.

    Attributes:
        replies: exactly the messages that the person must receive, in order.
        state: the final state of the message.
        attempts: the number of times that the handler must have run.
        slow: whether the slow notice is one of the replies; if not, it may come or not.
    """

    title: str
    order: SendTextRequest
    replies: tuple[str, ...]
    state: State = State.DONE
    attempts: int = 1
    slow: bool = False


def scenes(settings: Settings) -> tuple[Scene, ...]:
    """Return the demo's conversation. Each part has its own person, so none waits for another.

    Args:
        settings: of the demo's bot, for its notices.
    """
    return (
        Scene(
            "An ordinary message",
            SendTextRequest(body="hello", from_="+15551230001"),
            ("You said: hello",),
        ),
        Scene(
            "A slow handler: acknowledged at once, answered later",
            SendTextRequest(body="please think", from_="+15551230002"),
            (settings.slow_notice, "I have thought about it. The answer is 42."),
            slow=True,
        ),
        Scene(
            "A handler that fails once: retried",
            SendTextRequest(body="stumble", from_="+15551230003"),
            ("There I am. It took me 2 attempts.",),
            attempts=2,
        ),
        Scene(
            "A handler that keeps failing: the person gets a notice, the message is kept",
            SendTextRequest(body="break", from_="+15551230004"),
            (settings.failure_notice,),
            state=State.DEAD,
            attempts=2,
        ),
        Scene(
            "A webhook delivered three times: handled once",
            SendTextRequest(body="only once", from_="+15551230005", repeat=3),
            ("You said: only once",),
        ),
    )


def failed_checks(scene: Scene, steps: Sequence[TextEvent]) -> list[str]:
    """Return how the outcome of a scene differs from the expected one; empty if it does not."""
    found: list[str] = []
    for step in steps:
        match step:
            case Acknowledged():
                found += _acknowledge_problems(step, scene.order.repeat)
            case Settled():
                found += _outcome_problems(step, scene)
    if not any(isinstance(step, Settled) for step in steps):
        found.append("the message was not settled")
    replies = [step for step in steps if isinstance(step, Replied)]
    if not scene.slow:  # on a slow machine, retries take long enough for one
        replies = [step for step in replies if step.identity != SLOW_NOTICE]
    received = tuple(step.body for step in replies)
    if received != scene.replies:
        found.append(f"the person received {received}, expected {scene.replies}")
    unsent = [step for step in steps if isinstance(step, Replied) and step.state != "sent"]
    found += [f"a reply is {step.state}: {step.error}" for step in unsent]
    return found


def _acknowledge_problems(step: Acknowledged, times: int) -> list[str]:
    statuses = (step.status, *step.repeats)
    found = []
    if statuses != (200,) * times:
        found.append(f"the webhook was answered {statuses}")
    if step.seconds > ACKNOWLEDGE_WITHIN:
        found.append(f"it was acknowledged after {milliseconds(step.seconds)}")
    return found


def _outcome_problems(step: Settled, scene: Scene) -> list[str]:
    if (step.state, step.attempts) == (scene.state, scene.attempts):
        return []
    actual, expected = (f"{one.state} after {one.attempts} attempts" for one in (step, scene))
    return [f"the message is {actual}, expected {expected}"]
