-- The store's time; `_now` in functions.
-- name: now
(clock_timestamp() + (SELECT distance FROM offhook.clock))

-- The same, asked for once, for conditions. The clock itself moves on between two rows: no index is
-- used to compare with it, and all rows are read.
-- name: now_once
(SELECT {now})

-- A moment of the store's as seconds since the epoch by the server's clock.
-- name: epoch(moment)
extract(epoch FROM {moment} - (SELECT distance FROM offhook.clock))::float8

-- The same plan whatever the statistics say: they may be those of an empty table an hour ago, and a
-- plan that was made then stays as long as its connection. Every hot statement has an index that
-- leads to the very rows, and nothing else is ever better. What is discouraged counts as expensive,
-- and what is expensive gets compiled, unless jit is off.
-- name: same_plan
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET jit = off
SET search_path = pg_catalog, pg_temp

-- For functions that join their arguments with tables, or look for the first of a lane. Of a few
-- rows, reading all and sorting them is cheap; the plan would outlast that.
-- name: by_index
{same_plan}
SET enable_hashjoin = off
SET enable_sort = off

-- What is acknowledged is on disk, even if the database's default has been set to something faster.
-- A stricter choice (remote_apply) stands.
-- name: durably
IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
END IF;
