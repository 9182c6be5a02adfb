"""Why a message, a run or a reply is where it is: causes with values, one sentence for each.

A store keeps an explanation as `cause:timed-out 30`, in the column that otherwise holds a traceback
or a handler's own words. Of those anything may be a person's; of an explanation nothing is.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from offhook.core.lifecycle import CRASHES_UNTIL_DEAD

_MARK: Final = "cause:"


class Cause(StrEnum):
    """What an explanation says; `{}` in its sentence stands for a value.

    Calling one with its values makes the explanation: `Cause.TIMED_OUT(30.0)`. No value may be a
    person's words or number: explanations are shown to operators unmasked.
    """

    sentence: str

    ANSWERED = "answered", "the person has written first"
    CLAIM_LOST = "claim-lost", "the worker never received this claim; no handler ran"
    DISCARDED = "discarded", "discarded by its handler"
    LOOP_SUSPECTED = (
        "loop-suspected",
        "loop suspected: {} replies were answered faster than by any person",
    )
    NO_HANDLER = "no-handler", "no handler for {}"
    NOT_AWAITED = (
        "not-awaited",
        "a call was never awaited, so it was never made: write await before it in {}",
    )
    NOT_TWILIOS = "not-twilios", "not from Twilio: {}"
    OPERATOR = "operator", "by an operator"
    POSTPONED = "postponed", "handler asked for another attempt after {} s"
    OPTED_OUT = (
        "opted-out",
        "Twilio never had this, and the person has opted out or written since, or it was cancelled",
    )
    SEND_LOST = "send-lost", "worker died while sending this reply"
    SEND_REPEATED = "send-repeated", "sent {} times, and Twilio's message list never had it"
    # Told by earlier versions only, which counted sends.
    SENT_OFTEN = "sent-often", "loop suspected: {} messages sent to this conversation of late"
    SENDER_LIMIT = "sender-limit", "sender limit: more than {} messages in {} s"
    TIMED_OUT = "timed-out", "timed out after {} s"
    WINDOW_CLOSED = "window-closed", "the person had not written for 24 hours"
    WINDOW_REFUSED = "window-refused", "WhatsApp's 24-hour window was closed (error {})"
    WORKER_DIED = "worker-died", "worker died while running this message (crash {} of {})"
    WORKER_STOPPED = "worker-stopped", "worker stopped while running this message"

    def __new__(cls, value: str, sentence: str) -> Self:
        """Make a member from its stored name and its sentence."""
        cause = str.__new__(cls, value)
        cause._value_ = value
        cause.sentence = sentence
        return cause

    def __call__(self, *values: str | float) -> "Explanation":
        """Return the explanation with these values; blanks within one become underscores."""
        return Explanation(self, tuple(map(_shown, values)))


@dataclass(frozen=True, slots=True)
class Explanation:
    """A cause with its values; `str` gives its sentence.

    Attributes:
        cause: what was the cause.
        values: what its sentence needs, in order.
    """

    cause: Cause
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.cause.sentence.format(*self.values)


Error = Explanation | str
"""Why something is not done: an explanation, or else words that may quote a person."""


def as_template(content_sid: str, why: Error) -> str:
    """Return as which template a reply is sent, and why instead of its text; empty for a text."""
    if not content_sid:
        return ""
    return f"template {content_sid}" + (f" instead of the text: {why}" if why else "")


def _shown(value: str | float) -> str:
    match value:
        case str():
            return "_".join(value.split())
        case int():
            return str(value)
        case _:
            return f"{value:g}"


def stored(error: Error) -> str:
    """Return an error as a store's column holds it; `read` gives it back.

    Foreign words that read like an explanation get a space in front, so that they are not one.
    """
    if isinstance(error, str):
        alike = error.startswith(_MARK) or isinstance(read(error), Explanation)
        return f" {error}" if alike else error
    return _MARK + " ".join((error.cause, *error.values))


def read(column: str) -> Error:
    """Return the error that a column holds; what earlier versions wrote is read as well."""
    if column.startswith(_MARK):
        name, *values = column.removeprefix(_MARK).split(" ")
        known = name in _CAUSES and _CAUSES[name].sentence.count("{}") == len(values)
        return Explanation(_CAUSES[name], tuple(values)) if known else column
    for former, cause, more in _FORMER:
        if match := former.fullmatch(column):
            return Explanation(cause, (*match.groups(), *more))
    return column


_CAUSES: Final = {cause.value: cause for cause in Cause}

# Sentences that earlier versions wrote, in rows that stay until their retention is over.
_FORMER: Final = tuple(
    (re.compile(pattern, re.ASCII), cause, more)
    for pattern, cause, *more in (
        (r"the answer to its claim was lost: no handler has run", Cause.CLAIM_LOST),
        (r"discarded by its handler", Cause.DISCARDED),
        (r"loop-suspected: (\d+) sends of late", Cause.SENT_OFTEN),
        (r"no handler for ([a-z]+|START|STOP|HELP)", Cause.NO_HANDLER),
        (r"not Twilio's: ([a-z-]+)", Cause.NOT_TWILIOS),
        (r"by an operator", Cause.OPERATOR),
        (r"its worker died while it was being sent", Cause.SEND_LOST),
        (r"sender-limit: more than (\d+) messages in ([\d.e+]+) s", Cause.SENDER_LIMIT),
        (r"timed out after ([\d.e+-]+) s", Cause.TIMED_OUT),
        (
            r"its worker died while it was running, for the (\d+)\. time",
            Cause.WORKER_DIED,
            f"{CRASHES_UNTIL_DEAD}",
        ),
        (r"the worker was stopped", Cause.WORKER_STOPPED),
    )
)
