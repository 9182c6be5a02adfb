-- Which workers live. Each has a session that holds an advisory lock, which the server lets go of
-- when the session ends. A lock is taken before its key is written, and by one session only: once a
-- key is found free, its session has ended for good.

-- The first of the two numbers of the locks: "offk". Locks of other applications in the database
-- have another, or one number instead of two, and those are a space of their own.
-- name: locks
1868981867

-- name: lock_key
SELECT pg_try_advisory_lock({locks}, $1::integer)

-- Have the server end this session 20 s after its machine has vanished, rather than hours. The last
-- is for a notification that is under way, which keeps the others from being used.
-- name: notice_loss
SELECT set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('tcp_user_timeout', '20s', false)

-- Write down the key of a lock that is held. Repeated, it changes nothing.
-- name: join
INSERT INTO offhook.workers AS known (owner, key, server)
VALUES ($1::text, $2::integer, pg_postmaster_start_time())
    ON CONFLICT (owner) DO UPDATE SET key = excluded.key, server = excluded.server
 WHERE (known.key, known.server) <> (excluded.key, excluded.server)

-- Keys of locks that a stop of the server has ended: nothing follows from their being free.
-- name: forget_earlier
DELETE FROM offhook.workers WHERE owner IN (
    SELECT owner FROM offhook.workers WHERE server <> pg_postmaster_start_time()
       FOR UPDATE SKIP LOCKED)

-- name: leave
DELETE FROM offhook.workers WHERE owner = $1::text AND key = $2::integer

-- The keys that are free. The locks that find out are shared, so that several may look at once, and
-- held until the end of the statement.
-- name: ended
SELECT owner, key FROM offhook.workers
 WHERE server = pg_postmaster_start_time() AND pg_try_advisory_xact_lock_shared({locks}, key)

-- Release the leases of a worker, unless it has another key by now.
-- name: take_over
WITH dead AS (
    DELETE FROM offhook.workers
     WHERE owner = $1::text AND key = $2::integer
       AND pg_try_advisory_xact_lock_shared({locks}, key)
    RETURNING owner
)
SELECT offhook.{release}(owner) FROM dead
