-- Correct the server's clock if it was set, before leases are judged by it.
--
-- Ahead by less than half a lease is no matter for leases, and may be an answer that took its time.
-- A caller that finds the clock far ahead while others find it right has itself stood still.
-- name: check_clock
CREATE OR REPLACE FUNCTION offhook.check_clock(
    _expected float8, _version integer, _lease float8
) RETURNS void LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _clock offhook.clock;
    _least timestamptz;
    _until timestamptz;
    _off interval;
    _slack interval;
BEGIN
    {durably}
    SELECT * INTO _clock FROM offhook.clock;
    _now := clock_timestamp() + _clock.distance;
    _slack := make_interval(secs => greatest({BACK}, _lease / 2));
    IF _version IS NULL THEN
        _least := (SELECT max(received) FROM offhook.dedupe_keys);
    ELSIF _version = _clock.version THEN
        _least := to_timestamp(_expected);
    END IF;
    _off := _now - _least;
    IF _off IS NULL OR _off > interval '-{BACK} s' AND (
        _version IS NULL OR _off < _slack OR _now - _clock.seen < _slack)
    THEN
        IF abs(extract(epoch FROM _now - _clock.seen)) > extract(epoch FROM _slack) / 4 THEN
            UPDATE offhook.clock SET seen = _now WHERE one IN (
                SELECT one FROM offhook.clock
                 WHERE version = _clock.version FOR UPDATE SKIP LOCKED);
        END IF;
        RETURN;
    END IF;
    UPDATE offhook.clock
       SET distance = distance - _off, seen = _least, version = version + 1,
           step = extract(epoch FROM _off)
     WHERE version = _clock.version;
    IF NOT FOUND THEN RETURN; END IF;
    _until := _least + make_interval(secs => _lease);
    {put_right(messages)}
    UPDATE offhook.messages SET notice_due = notice_due - _off
     WHERE _off > interval '0' AND notice_due >= _clock.seen + _off;
    UPDATE offhook.send_requests SET due = due - _off
     WHERE _off > interval '0' AND stage = {Stage.SCHEDULED} AND created >= _clock.seen + _off;
    {put_right(sends)}
END $function$

-- After this nothing of a queue is late, and no lease has run out.
-- name: put_right(table)
PERFORM 1 FROM offhook.lanes WHERE {to_be_moved({table})} ORDER BY lane FOR UPDATE;
UPDATE offhook.lanes
   SET until = CASE WHEN until IS NOT NULL THEN _until END,
       due = CASE WHEN until IS NOT NULL THEN _until ELSE due - _off END
 WHERE {to_be_moved({table})};
UPDATE offhook.{table} SET due = due - _off WHERE resting IS NULL AND {unnoticed};

-- name: to_be_moved(table)
queue = {{table}_queue} AND (until IS NOT NULL OR {unnoticed})

-- Stored by a clock set ahead, before that was noticed.
-- name: unnoticed
_off > interval '0' AND due >= _clock.seen + _off
