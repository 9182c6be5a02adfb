"""End runs and write their sends: one function for a batch of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from offhook.core.lifecycle import LIVE, target
from offhook.core.messages import Send
from offhook.core.reasons import stored
from offhook.stores.api import Claim, Draft, Settlement
from offhook.stores.postgres.functions import Function
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.values import lane_key, storable
from offhook.stores.rows import COUNTED, as_send, draft_columns, passed_on, settled_already

_IDENTITY_BYTES: Final = 500  # an index entry has an end at 2,700 bytes, and holds a lane as well

WRITE: Final = Function("write_send")
_SETTLE: Final = Function("settle", WRITE)

FUNCTIONS: Final = (WRITE, _SETTLE)

_DRAFT_COLUMNS: Final = 11
_STATE_COLUMNS: Final = 3


@dataclass(frozen=True, slots=True)
class RunWrite:
    """What a run writes: sends, and its end if there is a settlement."""

    claim: Claim
    drafts: Sequence[Draft]
    settlement: Settlement | None = None


async def settle(
    connection: Connection, batch: Sequence[RunWrite]
) -> list[tuple[Send, ...] | Exception]:
    """Write what runs have to write. See `api.Queue.settle` and `api.Ledger.write`."""
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
    connection: Connection, steps: Sequence[RunWrite]
) -> list[tuple[Send, ...] | Exception]:
    items = list(zip(*(_item_columns(step) for step in steps), strict=True))
    drafts = [(n, *draft_values(draft)) for n, step in enumerate(steps, 1) for draft in step.drafts]
    columns = list(zip(*drafts, strict=True)) if drafts else [()] * _DRAFT_COLUMNS
    changed = [_changed_state(n, step) for n, step in enumerate(steps, 1) if _saves(step)]
    states = list(zip(*changed, strict=True)) if changed else [()] * _STATE_COLUMNS
    rows = await connection.fetch(_SETTLE.call, *items, *columns, *states)
    written: list[list[Send]] = [[] for _ in steps]
    verdicts: dict[int, str] = {}
    for item, verdict, *send, repeated in rows:
        if verdict is None:
            written[item - 1].append(as_send(send, repeated=repeated))
        else:
            verdicts[item - 1] = verdict
    return [_answer(step, verdicts[n], written[n]) for n, step in enumerate(steps)]


def _saves(step: RunWrite) -> bool:
    return step.settlement is not None and step.settlement.state is not None


def _changed_state(number: int, step: RunWrite) -> tuple[Any, ...]:
    before, value = step.claim.state, step.settlement and step.settlement.state
    return (number, 0 if before is None else before.version, value)


def _run(step: RunWrite) -> tuple[int, int]:
    return step.claim.id, step.claim.token


def draft_values(draft: Draft) -> tuple[Any, ...]:
    """Return a draft as `WRITE` takes it."""
    identity, *others = draft_columns(draft, storable)
    return (_short(identity), *others, draft.once_in)


def _item_columns(step: RunWrite) -> tuple[Any, ...]:
    claim, ending = step.claim, step.settlement
    run = (claim.id, lane_key(claim.lane), claim.token)
    if ending is None:
        return (*run, None, None, 0, True, "", 0.0, True, False, claim.attempt)
    state = target(ending.trigger)
    return (
        *run, ending.trigger.value, state.value, int(ending.trigger in COUNTED), state in LIVE,
        storable(stored(ending.error)), ending.delay, ending.holds_lane, ending.cancel_lane,
        claim.attempt,
    )  # fmt: skip


def _answer(step: RunWrite, verdict: str, written: list[Send]) -> tuple[Send, ...] | Exception:
    match verdict:
        case "may":
            return tuple(written)
        case "repeat":  # its answer was lost, the settling was not
            return ()
        case "over":
            return settled_already(step.claim)
        case _:
            return passed_on(step.claim)


def _short(identity: str) -> str:
    """Return an identity that fits into an index: a user's own key may be too long."""
    if len(identity) * 4 <= _IDENTITY_BYTES or len(identity.encode()) <= _IDENTITY_BYTES:
        return identity
    return f"{identity[:80]}~{blake2b(identity.encode(), digest_size=16).hexdigest()}"
