"""The ledger's sends, from claimed to delivered."""

import json
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from offhook.core.lifecycle import (
    LIVE,
    SendTrigger,
    send_sources,
    send_target,
)
from offhook.core.messages import Send
from offhook.core.reasons import Cause, stored
from offhook.ports import Draft, SendClaim, SendOutcome
from offhook.stores.postgres import lanes
from offhook.stores.postgres.accept import touch_lanes
from offhook.stores.postgres.clock import CHECK, CHECKS, StoreClock
from offhook.stores.postgres.connections import Connection, Row
from offhook.stores.postgres.routines import Routine
from offhook.stores.postgres.settling import DRAFT, SLOW_NOTICE, WRITE, as_send, draft_values
from offhook.stores.postgres.sql import (
    IS_LIVE,
    MESSAGES,
    NOW,
    SENDS,
    before_send,
    one_of,
    seconds_after,
    storable,
)

_HEADS: Final = f"""
    unnest(_locked) WITH ORDINALITY AS turn (lane, n) CROSS JOIN LATERAL (
        SELECT id, due FROM offhook.sends WHERE sends.lane = turn.lane AND {IS_LIVE}
         ORDER BY id LIMIT 1) AS head
"""

# Of each lane in `_locked` what is being sent: one, if the lane is leased. It is found by its lane
# and locked afterwards. In one step, in the order of their numbers, the index of all sends would be
# read.
_UNDER_WAY: Final = f"""
    SELECT sending.id FROM {lanes.given(SENDS, {"lane": "_locked"})} AS turn
     CROSS JOIN LATERAL (
           SELECT until FROM offhook.lanes
            WHERE lanes.queue = turn.queue AND lanes.lane = turn.lane LIMIT 1) AS lease
     CROSS JOIN LATERAL (
           SELECT id FROM offhook.sends
            WHERE sends.lane = turn.lane AND {IS_LIVE} AND {before_send(SendTrigger.LOSE)}
              AND lease.until IS NOT NULL
            ORDER BY id LIMIT 1) AS sending
"""

_LOST: Final = stored(Cause.SEND_LOST())

# What was being sent when its worker died may have left, so it is not repeated. Rows are locked in
# the order of their numbers before they are changed, for callbacks come in between.
_CLAIM: Final = Routine(
    purpose="claim_sends",
    arguments={"_most": "integer", "_lease": "float8", "_owner": "text", **CHECKS},
    returns="""TABLE (
        id bigint, token bigint, message bigint, identity text, account_sid text, sender text,
        recipient text, body text, media text, content_sid text, content_variables text,
        tries integer, message_sid text)""",
    declares="""
        _until timestamptz; _locked bytea[]; _crashed bigint[]; _taken bytea[]; _ids bigint[];
        _tokens bigint[];
    """,
    body=f"""
        PERFORM offhook.{CHECK.name}(_expected, _version, _lease);
        _now := {NOW};
        _until := {seconds_after("_now", "_lease")};
        _locked := ({lanes.lock_due(SENDS, "_most")});
        IF _locked IS NULL THEN RETURN; END IF;
        _crashed := ARRAY({_UNDER_WAY});
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_crashed) ORDER BY id FOR UPDATE;
        UPDATE offhook.sends
           SET state = '{send_target(SendTrigger.LOSE)}', settled = _now, error = '{_LOST}'
         WHERE id = ANY(_crashed) AND {before_send(SendTrigger.LOSE)};
        SELECT coalesce(array_agg(turn.lane ORDER BY n), '{{}}'),
               coalesce(array_agg(head.id ORDER BY n), '{{}}'),
               array_agg(nextval('offhook.tokens'))
          INTO _taken, _ids, _tokens FROM {_HEADS} WHERE head.due <= _now;
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
        UPDATE offhook.lanes SET token = t.token, until = _until, due = _until, owner = _owner
          FROM {lanes.given(SENDS, {"lane": "_taken", "token": "_tokens"})} AS t
         WHERE lanes.queue = t.queue AND lanes.lane = t.lane;
        {lanes.advance(SENDS, "_locked", where="lanes.lane <> ALL(_taken)")};
        RETURN QUERY
        WITH taken AS (
            UPDATE offhook.sends
               SET state = '{send_target(SendTrigger.CLAIM)}', token = t.token,
                   tries = sends.tries + 1
              FROM unnest(_taken, _ids, _tokens) WITH ORDINALITY AS t (lane, id, token, n)
             WHERE sends.id = t.id AND sends.lane = t.lane AND {before_send(SendTrigger.CLAIM)}
            RETURNING sends.*, n
        )
        SELECT id, token, message, identity, account_sid, sender, recipient, body, media,
               content_sid, content_variables, tries,
               (SELECT sid FROM offhook.messages
                 WHERE messages.id = taken.message AND messages.lane = taken.lane)
          FROM taken ORDER BY n;
    """,
    needs=(CHECK,),
)

_SOURCES: Final = " ".join(
    f"WHEN '{trigger}' THEN sends.state IN {one_of(send_sources(trigger))}"
    for trigger in SendTrigger
)

# A status callback that came first is not overwritten: its state is none that the outcome may
# happen to, or its delivery stands.
_SETTLE: Final = Routine(
    purpose="settle_sends",
    arguments={
        "_ids": "bigint[]", "_tokens": "bigint[]", "_triggers": "text[]", "_states": "text[]",
        "_delays": "float8[]", "_sids": "text[]", "_statuses": "text[]", "_codes": "text[]",
        "_errors": "text[]",
    },
    returns="void",
    declares="_locked bytea[]; _ended bytea[];",
    body=f"""
        _locked := ARRAY(SELECT lane FROM offhook.sends WHERE id = ANY(_ids));
        {lanes.lock(SENDS, "_locked")};
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
        _now := {NOW};
        UPDATE offhook.sends
           SET state = outcome.state,
               due = {seconds_after("_now", "outcome.delay")},
               settled = CASE WHEN outcome.trigger <> '{SendTrigger.POSTPONE}' THEN _now END,
               sid = CASE WHEN outcome.sid = '' THEN sends.sid ELSE outcome.sid END,
               error_code = outcome.code,
               error = outcome.error,
               delivery = CASE WHEN sends.delivery = '' THEN outcome.status ELSE sends.delivery END
          FROM unnest(_ids, _tokens, _triggers, _states, _delays, _sids, _statuses, _codes, _errors)
               AS outcome (id, token, trigger, state, delay, sid, status, code, error)
         WHERE sends.id = outcome.id AND sends.token = outcome.token
           AND CASE outcome.trigger {_SOURCES} END;
        _ended := ARRAY(
            SELECT lanes.lane FROM {lanes.given(SENDS, {"lane": "_locked"})} AS given
              JOIN offhook.lanes ON lanes.queue = given.queue AND lanes.lane = given.lane
             WHERE lanes.token = ANY(_tokens));
        {lanes.advance(SENDS, "_ended")};
    """,
)  # fmt: skip

# Each item is a notice. Its message's lane is locked against its settling, which cancels the notice
# it finds, and the message itself against its pruning.
_NOTIFY: Final = Routine(
    purpose="notify",
    arguments={
        "_messages": "bigint[]", "_settled": "boolean[]",
        **{f"_draft{name}": f"{kind}[]" for name, kind in DRAFT.items()},
    },
    returns="""TABLE (item integer, id bigint, identity text, state text, body text, recipient text,
                      sid text, delivery text, error_code text, error text, repeated boolean)""",
    declares="_lanes bytea[]; _may boolean[]; _notice record;",
    body=f"""
        _lanes := ARRAY(SELECT (SELECT lane FROM offhook.messages WHERE messages.id = given.id)
                          FROM unnest(_messages) WITH ORDINALITY AS given (id, n) ORDER BY n);
        {lanes.lock(MESSAGES, "_lanes")};
        PERFORM 1 FROM offhook.messages
          WHERE id = ANY(_messages) AND lane = ANY(_lanes) ORDER BY id FOR UPDATE;
        _may := ARRAY(
            SELECT coalesce(given.settled OR messages.state IN {one_of(LIVE)}, false)
                   AND messages.id IS NOT NULL
              FROM unnest(_messages, _lanes, _settled)
                   WITH ORDINALITY AS given (id, lane, settled, n)
              LEFT JOIN offhook.messages
                ON messages.id = given.id AND messages.lane = given.lane
             ORDER BY n);
        UPDATE offhook.messages SET notice_due = NULL
          FROM unnest(_messages, _lanes, _may, _draft_identity) AS given (id, lane, may, identity)
         WHERE messages.id = given.id AND messages.lane = given.lane
           AND may AND identity = '{SLOW_NOTICE}';
        {touch_lanes(SENDS, "ARRAY(SELECT l FROM unnest(_lanes, _may) AS g (l, may) WHERE may)")};
        FOR _notice IN
            SELECT * FROM unnest(_messages, _lanes, _may, {", ".join(f"_draft{n}" for n in DRAFT)})
                     WITH ORDINALITY AS given (message, lane, may,
                                               {", ".join(name[1:] for name in DRAFT)}, n)
             WHERE may ORDER BY n
        LOOP
            RETURN QUERY SELECT _notice.n::integer, w.* FROM offhook.{WRITE.name}(
                _notice.lane, _notice.message,
                {", ".join(f"_notice.{name[1:]}" for name in DRAFT)}) AS w;
        END LOOP;
    """,
    needs=(WRITE,),
)  # fmt: skip

# What its owner does not know of has not left.
_HAND_BACK: Final = Routine(
    purpose="hand_back_sends",
    arguments={"_owner": "text", "_held": "bigint[]"},
    returns="integer",
    declares="_locked bytea[]; _ids bigint[];",
    body=f"""
        _locked := ({lanes.lock_unheld(SENDS)});
        _ids := ARRAY({_UNDER_WAY});
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
        _now := {NOW};
        UPDATE offhook.sends
           SET state = '{send_target(SendTrigger.POSTPONE)}', token = 0, due = _now,
               tries = sends.tries - 1
         WHERE id = ANY(_ids) AND {before_send(SendTrigger.POSTPONE)};
        {lanes.advance(SENDS, "_locked")};
        RETURN cardinality(_locked);
    """,
)

ROUTINES: Final = (_CLAIM, _HAND_BACK, _SETTLE, _NOTIFY)


class Settled(NamedTuple):
    """A send, and what became of it."""

    claim: SendClaim
    outcome: SendOutcome


class Notice(NamedTuple):
    """What a person is told of a message, though it may have settled."""

    message_id: int
    draft: Draft
    settled: bool


async def claim(
    connection: Connection, clock: StoreClock, *, limit: int, lease: float, owner: str
) -> Sequence[SendClaim]:
    """Take the heads of lanes that are due. See `ports.Ledger.claim_sends`."""
    rows = await connection.fetch(_CLAIM.call, limit, lease, owner, *clock.arguments)
    return [_claim(row) for row in rows]


async def hand_back(connection: Connection, owner: str, held: Collection[int]) -> int:
    """End leases that their owner does not know of. See `ports.Ledger.hand_back_sends`."""
    count: int = await connection.fetchval(_HAND_BACK.call, owner, list(held))
    return count


async def settle(connection: Connection, batch: Sequence[Settled]) -> list[None]:
    """Record what became of sends. See `ports.Ledger.settle_send`."""
    columns = zip(*(_outcome_columns(*one) for one in batch), strict=True)
    await connection.fetch(_SETTLE.call, *columns)
    return [None] * len(batch)


async def notify(connection: Connection, batch: Sequence[Notice]) -> list[Send | None]:
    """Write notices. See `ports.Ledger.notify`."""
    columns = zip(
        *((one.message_id, one.settled, *draft_values(one.draft)) for one in batch), strict=True
    )
    written: list[Send | None] = [None] * len(batch)
    for row in await connection.fetch(_NOTIFY.call, *columns):
        if not row["repeated"]:
            written[row["item"] - 1] = as_send(row)
    return written


def _claim(row: Row) -> SendClaim:
    draft = Draft(
        identity=row["identity"],
        account_sid=row["account_sid"],
        sender=row["sender"],
        to=row["recipient"],
        body=row["body"],
        media=tuple(json.loads(row["media"])),
        content_sid=row["content_sid"],
        content_variables=json.loads(row["content_variables"]),
    )
    return SendClaim(
        row["id"], row["token"], row["message"], draft, row["tries"], row["message_sid"] or ""
    )


def _outcome_columns(claim: SendClaim, outcome: SendOutcome) -> tuple[Any, ...]:
    return (
        claim.id, claim.token, outcome.trigger.value, send_target(outcome.trigger).value,
        outcome.delay, storable(outcome.sid), storable(outcome.status),
        storable(outcome.error_code), storable(outcome.error),
    )  # fmt: skip
