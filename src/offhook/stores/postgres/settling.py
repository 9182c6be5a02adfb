"""Ending runs, and writing their sends: one function for a batch of both."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from offhook.core.lifecycle import LIVE, Delivery, SendState, Trigger, target
from offhook.core.messages import Send
from offhook.core.reasons import read, stored
from offhook.errors import LeaseLost
from offhook.ports import Claim, Draft, Settlement
from offhook.stores.postgres.connections import Connection, Row
from offhook.stores.postgres.routines import Function
from offhook.stores.postgres.values import lane_key, storable

# These end a run that the handler has had; a crash or an interruption costs no attempt.
_COUNTED: Final = frozenset({Trigger.COMPLETE, Trigger.DISCARD, Trigger.RETRY, Trigger.GIVE_UP})

_IDENTITY_BYTES: Final = 500  # an index entry has an end at 2,700 bytes, and holds a lane as well

WRITE: Final = Function("write_send")
_SETTLE: Final = Function("settle", WRITE)

FUNCTIONS: Final = (WRITE, _SETTLE)

_DRAFT_COLUMNS: Final = 10


@dataclass(frozen=True, slots=True)
class Step:
    """What a run does: it writes sends, and it ends if there is a settlement."""

    claim: Claim
    drafts: Sequence[Draft]
    settlement: Settlement | None = None


async def settle(
    connection: Connection, batch: Sequence[Step]
) -> list[tuple[Send, ...] | Exception]:
    """Carry out the steps of runs. See `ports.Queue.settle` and `ports.Ledger.write`."""
    settled: dict[tuple[int, int], int] = {}
    repeats = {
        n: first
        for n, step in enumerate(batch)
        if step.settlement and (first := settled.setdefault(_run(step), n)) != n
    }
    steps = [step for n, step in enumerate(batch) if n not in repeats]
    answers = iter(await _carry_out(connection, steps))
    results = [() if n in repeats else next(answers) for n in range(len(batch))]
    for n, first in repeats.items():
        if isinstance(results[first], Exception):
            results[n] = results[first]
    return results


async def _carry_out(
    connection: Connection, steps: Sequence[Step]
) -> list[tuple[Send, ...] | Exception]:
    items = list(zip(*(_item_columns(step) for step in steps), strict=True))
    drafts = [(n, *draft_values(draft)) for n, step in enumerate(steps, 1) for draft in step.drafts]
    columns = list(zip(*drafts, strict=True)) if drafts else [()] * _DRAFT_COLUMNS
    rows = await connection.fetch(_SETTLE.call, *items, *columns)
    written: list[list[Send]] = [[] for _ in steps]
    verdicts: dict[int, str] = {}
    for row in rows:
        if row["verdict"] is None:
            written[row["item"] - 1].append(as_send(row, repeated=row["repeated"]))
        else:
            verdicts[row["item"] - 1] = row["verdict"]
    return [_answer(step, verdicts[n], written[n]) for n, step in enumerate(steps)]


def _run(step: Step) -> tuple[int, int]:
    return step.claim.id, step.claim.token


def as_send(row: Row, *, repeated: bool = False) -> Send:
    """Return a row of the ledger as handlers and people see it."""
    return Send(
        id=row["id"],
        identity=row["identity"],
        state=SendState(row["state"]),
        body=row["body"],
        to=row["recipient"],
        sid=row["sid"],
        delivery=Delivery(row["delivery"], row["error_code"]) if row["delivery"] else None,
        error=str(read(row["error"])),
        error_code=row["error_code"],
        repeated=repeated,
    )


def draft_values(draft: Draft) -> tuple[Any, ...]:
    """Return a draft as `WRITE` takes it."""
    return (
        _identity(draft.identity), storable(draft.account_sid), storable(draft.sender),
        storable(draft.to), storable(draft.body), json.dumps(list(draft.media)),
        storable(draft.content_sid), json.dumps(dict(draft.content_variables)), draft.once_in,
    )  # fmt: skip


def _item_columns(step: Step) -> tuple[Any, ...]:
    claim, ending = step.claim, step.settlement
    run = (claim.id, lane_key(claim.lane), claim.token)
    if ending is None:
        return (*run, None, None, 0, True, "", 0.0, True, False, claim.attempt)
    state = target(ending.trigger)
    return (
        *run, ending.trigger.value, state.value, int(ending.trigger in _COUNTED), state in LIVE,
        storable(stored(ending.error)), ending.delay, ending.holds_lane, ending.cancel_lane,
        claim.attempt,
    )  # fmt: skip


def _answer(step: Step, verdict: str, written: list[Send]) -> tuple[Send, ...] | Exception:
    match verdict:
        case "may":
            return tuple(written)
        case "repeat":  # its answer was lost, the settling was not
            return ()
        case "over":
            return LeaseLost(f"message {step.claim.id} has settled: its run can send no more")
        case _:
            return LeaseLost(f"message {step.claim.id} has passed to another run")


def _identity(identity: str) -> str:
    """Return an identity as it is stored: a user's own key may be too long for an index."""
    text = storable(identity)
    if len(text) * 4 <= _IDENTITY_BYTES or len(text.encode()) <= _IDENTITY_BYTES:
        return text
    return f"{text[:80]}~{blake2b(text.encode(), digest_size=16).hexdigest()}"
