"""The conversation of `offhook demo`, and what each part of it must come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offhook.core.lifecycle import State
from offhook.dev.control import SendTextRequest
from offhook.dev.conversation import Acknowledged, Replied, Settled, TextEvent
from offhook.settings import Settings
from offhook.terminal import milliseconds

ACKNOWLEDGE_WITHIN: Final = 0.5
"""Seconds: the ceiling that offhook sets itself, on whatever machine the demo runs. Twilio waits
for 15: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A message, and what is promised of it.

    Attributes:
        replies: what the person must receive, in this order, and nothing else.
        state: how the message must end.
        attempts: how often the handler must have run.
    """

    title: str
    order: SendTextRequest
    replies: tuple[str, ...]
    state: State = State.DONE
    attempts: int = 1


def scenes(settings: Settings) -> tuple[Scene, ...]:
    """Return the demo's conversation. Each part has a person of its own, so none waits for another.

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
            "A handler that takes its time: acknowledged at once, answered later",
            SendTextRequest(body="please think", from_="+15551230002"),
            (settings.slow_notice, "I have thought about it. The answer is 42."),
        ),
        Scene(
            "A handler that fails once: it is tried again",
            SendTextRequest(body="stumble", from_="+15551230003"),
            ("There I am. It took me 2 attempts.",),
            attempts=2,
        ),
        Scene(
            "A handler that fails for good: the person is told, the message is kept",
            SendTextRequest(body="break", from_="+15551230004"),
            (settings.failure_notice,),
            state=State.DEAD,
            attempts=2,
        ),
        Scene(
            "One webhook, delivered three times: handled once",
            SendTextRequest(body="only once", from_="+15551230005", repeat=3),
            ("You said: only once",),
        ),
    )


def broken_promises(scene: Scene, steps: Sequence[TextEvent]) -> list[str]:
    """Return what a scene came to that was not promised, in words; empty when all went well."""
    found: list[str] = []
    for step in steps:
        match step:
            case Acknowledged():
                found += _late_or_refused(step, scene.order.repeat)
            case Settled():
                found += _wrong_end(step, scene)
    if not any(isinstance(step, Settled) for step in steps):
        found.append("it did not come to an end")
    received = tuple(step.body for step in steps if isinstance(step, Replied))
    if received != scene.replies:
        found.append(f"the person received {received}, not {scene.replies}")
    unsent = [step for step in steps if isinstance(step, Replied) and step.state != "sent"]
    found += [f"a reply is {step.state}: {step.error}" for step in unsent]
    return found


def _late_or_refused(step: Acknowledged, times: int) -> list[str]:
    statuses = (step.status, *step.repeats)
    found = []
    if statuses != (200,) * times:
        found.append(f"the webhook was answered {statuses}")
    if step.seconds > ACKNOWLEDGE_WITHIN:
        found.append(f"it was acknowledged after {milliseconds(step.seconds)}")
    return found


def _wrong_end(step: Settled, scene: Scene) -> list[str]:
    if (step.state, step.attempts) == (scene.state, scene.attempts):
        return []
    was, promised = (f"{one.state} after {one.attempts} attempts" for one in (step, scene))
    return [f"it is {was}, not {promised}"]
