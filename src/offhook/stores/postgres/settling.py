"""Ending runs, and writing their sends: one function for a batch of both."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from offhook.core.lifecycle import (
    LIVE,
    Delivery,
    SendState,
    SendTrigger,
    Trigger,
    send_target,
    target,
)
from offhook.core.messages import Send
from offhook.core.reasons import read, stored
from offhook.errors import LeaseLost
from offhook.ports import Claim, Draft, Settlement
from offhook.stores.postgres import lanes
from offhook.stores.postgres.accept import touch_lanes
from offhook.stores.postgres.connections import Connection, Row
from offhook.stores.postgres.routines import Routine
from offhook.stores.postgres.sql import (
    MESSAGES,
    NOW,
    SENDS,
    before_send,
    lane_key,
    seconds_after,
    storable,
)

SLOW_NOTICE: Final = "notice:slow"
"""The one notice that a settled message does not want any more."""

# These end a run that the handler has had; a crash or an interruption costs no attempt.
_COUNTED: Final = frozenset({Trigger.COMPLETE, Trigger.DISCARD, Trigger.RETRY, Trigger.GIVE_UP})

_IDENTITY_BYTES: Final = 500  # an index entry has an end at 2,700 bytes, and holds a lane as well

SEND_COLUMNS: Final = "id, identity, state, body, recipient, sid, delivery, error_code, error"

DRAFT: Final[Mapping[str, str]] = {
    "_identity": "text", "_account": "text", "_sender": "text", "_recipient": "text",
    "_body": "text", "_media": "text", "_content_sid": "text", "_variables": "text",
    "_once_in": "float8",
}  # fmt: skip

# Writes a send, or returns the one that its identity names. No row when the lane has had it. The
# lane of sends is locked: numbers are in the order of commits, and nobody else writes to it.
WRITE: Final = Routine(
    purpose="write_send",
    arguments={"_lane": "bytea", "_message": "bigint", **DRAFT},
    returns="""TABLE (id bigint, identity text, state text, body text, recipient text, sid text,
                      delivery text, error_code text, error text, repeated boolean)""",
    body=f"""
        RETURN QUERY SELECT {SEND_COLUMNS}, true FROM offhook.sends
          WHERE message = _message AND lane = _lane AND identity = _identity;
        IF FOUND THEN RETURN; END IF;
        _now := {NOW};
        IF _once_in > 0 AND EXISTS (
            SELECT 1 FROM offhook.sends
             WHERE lane = _lane AND created > {seconds_after("_now", "-_once_in")}
               AND identity = _identity AND state <> '{send_target(SendTrigger.CANCEL)}'
        ) THEN RETURN; END IF;
        INSERT INTO offhook.tallies (what, change) VALUES ('sends', 1);
        RETURN QUERY
        INSERT INTO offhook.sends (id, message, identity, lane, state, account_sid, sender,
                                   recipient, body, media, content_sid, content_variables,
                                   created, due)
        VALUES (nextval('offhook.send_ids'), _message, _identity, _lane, '{SendState.PENDING}',
                _account, _sender, _recipient, _body, _media, _content_sid, _variables, _now, _now)
        RETURNING {SEND_COLUMNS}, false;
    """,
)

# Each item is a run of which sends are written, and which ends if it has a trigger.
_ITEM: Final[Mapping[str, str]] = {
    "_ids": "bigint[]", "_lanes": "bytea[]", "_tokens": "bigint[]", "_triggers": "text[]",
    "_states": "text[]", "_counted": "integer[]", "_lives": "boolean[]", "_errors": "text[]",
    "_delays": "float8[]", "_holds": "boolean[]", "_cancels": "boolean[]", "_numbers": "integer[]",
}  # fmt: skip
_DRAFTS: Final[Mapping[str, str]] = {
    "_items": "integer[]", **{f"_draft{name}": f"{kind}[]" for name, kind in DRAFT.items()},
}  # fmt: skip

_RUNNING: Final = target(Trigger.CLAIM)

# What becomes of each item: 'may' go on, is a 'repeat' of what was settled, or is 'lost'.
_JUDGE: Final = f"""
    SELECT array_agg(CASE
               WHEN messages.token IS DISTINCT FROM item.token THEN 'lost'
               WHEN messages.state = '{_RUNNING}' THEN 'may'
               WHEN item.trigger IS NULL THEN 'over'
               ELSE 'repeat' END ORDER BY n),
           array_agg(item.lane) FILTER (
               WHERE messages.state = '{_RUNNING}' AND NOT item.live
                 AND messages.notice_due IS NULL AND EXISTS (
                     SELECT 1 FROM offhook.sends
                      WHERE sends.message = item.id AND sends.lane = item.lane
                        AND sends.identity = '{SLOW_NOTICE}'
                        AND {before_send(SendTrigger.CANCEL)}))
      INTO _verdicts, _told
      FROM unnest(_ids, _lanes, _tokens, _triggers, _lives)
           WITH ORDINALITY AS item (id, lane, token, trigger, live, n)
      LEFT JOIN offhook.messages ON messages.id = item.id AND messages.lane = item.lane
"""

_END: Final = f"""
    WITH ended AS (
        UPDATE offhook.messages
           SET state = item.state,
               attempts = messages.attempts + item.counted,
               due = {seconds_after("_now", "item.delay")},
               holds = item.holds,
               settled = CASE WHEN item.live THEN NULL ELSE _now END,
               error = item.error,
               notice_due = CASE WHEN item.live THEN notice_due END
          FROM unnest(_ids, _lanes, _verdicts, _triggers, _states, _counted, _lives, _errors,
                      _delays, _holds, _numbers)
               AS item (id, lane, verdict, trigger, state, counted, live, error, delay, holds,
                        number)
         WHERE messages.id = item.id AND messages.lane = item.lane
           AND item.verdict = 'may' AND item.trigger IS NOT NULL
        RETURNING messages.id, messages.lane, item.trigger, item.number, started, messages.error
    )
    INSERT INTO offhook.attempts (lane, message, number, started, ended, trigger, error)
    SELECT lane, id, number, started, _now, trigger, error
      FROM ended WHERE trigger <> '{Trigger.COMPLETE}'
"""

# What is cancelled is locked in the order of its numbers, as everything is.
_CANCEL: Final = f"""
    PERFORM 1 FROM offhook.sends
      WHERE id = ANY(ARRAY(
                SELECT pending.id FROM {lanes.given(SENDS, {"lane": "_cancelled"})} AS turn
                 CROSS JOIN LATERAL (
                       SELECT id FROM offhook.sends
                        WHERE sends.lane = turn.lane AND resting IS NULL
                          AND {before_send(SendTrigger.CANCEL)}
                        ORDER BY id OFFSET 0) AS pending))
      ORDER BY id FOR UPDATE;
    UPDATE offhook.sends SET state = '{send_target(SendTrigger.CANCEL)}'
      FROM unnest(_ids, _lanes, _verdicts, _triggers, _lives, _cancels)
           AS item (id, lane, verdict, trigger, live, cancel)
     WHERE sends.lane = item.lane AND sends.resting IS NULL AND {before_send(SendTrigger.CANCEL)}
       AND item.verdict = 'may' AND item.trigger IS NOT NULL
       AND (item.cancel OR NOT item.live AND sends.message = item.id
                           AND sends.identity = '{SLOW_NOTICE}')
"""

_ENDING: Final = lanes.given(
    MESSAGES,
    {"lane": "_lanes", "token": "_tokens", "trigger": "_triggers", "verdict": "_verdicts"},
)

_SETTLE: Final = Routine(
    purpose="settle",
    arguments={**_ITEM, **_DRAFTS},
    returns="""TABLE (item integer, verdict text, id bigint, identity text, state text, body text,
                      recipient text, sid text, delivery text, error_code text, error text,
                      repeated boolean)""",
    declares="""
        _verdicts text[]; _told bytea[]; _cancelled bytea[]; _sending bytea[];
        _ended bytea[]; _draft record;
    """,
    body=f"""
        {lanes.lock(MESSAGES, "_lanes")};
        _now := {NOW};
        {_JUDGE};
        {_END};
        _cancelled := coalesce(_told, '{{}}') || ARRAY(
            SELECT lane FROM unnest(_lanes, _cancels) AS item (lane, cancel) WHERE cancel);
        _sending := _cancelled || ARRAY(SELECT _lanes[n] FROM unnest(_items) AS n);
        IF cardinality(_sending) > 0 THEN
            {touch_lanes(SENDS, "_sending")};
            IF cardinality(_cancelled) > 0 THEN
                {_CANCEL};
            END IF;
            FOR _draft IN
                SELECT * FROM unnest({", ".join(_DRAFTS)})
                         WITH ORDINALITY AS d (item, {", ".join(name[1:] for name in DRAFT)}, n)
                 WHERE _verdicts[item] = 'may' ORDER BY n
            LOOP
                RETURN QUERY
                SELECT _draft.item, NULL::text, w.* FROM offhook.{WRITE.name}(
                    _lanes[_draft.item], _ids[_draft.item],
                    {", ".join(f"_draft.{name[1:]}" for name in DRAFT)}) AS w;
            END LOOP;
        END IF;
        _ended := ARRAY(
            SELECT lanes.lane
              FROM {_ENDING} AS item
              JOIN offhook.lanes ON lanes.queue = item.queue AND lanes.lane = item.lane
               AND lanes.token = item.token
             WHERE verdict = 'may' AND trigger IS NOT NULL);
        {lanes.advance(MESSAGES, "_ended")};
        RETURN QUERY
        SELECT n::integer, v, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text,
               NULL::text, NULL::text, NULL::text, NULL::text, NULL::boolean
          FROM unnest(_verdicts) WITH ORDINALITY AS verdict (v, n);
    """,
    needs=(WRITE,),
)

ROUTINES: Final = (WRITE, _SETTLE)


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
    columns = list(zip(*drafts, strict=True)) if drafts else [()] * len(_DRAFTS)
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
