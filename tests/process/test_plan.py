from offhook.process.plan import (
    MAX_BACKOFF,
    MAX_BROKEN_BACKOFF,
    STABLE_AFTER,
    START_TIMEOUT,
    Limits,
    Plan,
    ProcessSlot,
    Role,
    Situation,
    plan,
)

LIMITS = Limits(silence=40.0, drain=30.0)
INGRESS = ProcessSlot(Role.INGRESS, 1)
WORKER = ProcessSlot(Role.WORKER, 1)


def decide(*slots: ProcessSlot, now: float, stopping: float | None = None) -> Plan:
    return plan(Situation(slots, now, stopping, LIMITS))


def test_stopped_slots_are_started_at_once() -> None:
    assert decide(INGRESS, WORKER, now=5.0) == Plan(start=(INGRESS, WORKER))


def test_a_slot_whose_process_exited_waits_longer_each_time_but_never_longer_than_the_cap() -> None:
    slot, pauses, now = WORKER, [], 0.0
    for _ in range(12):
        slot = slot.started(now).exited(now)
        pauses.append(round(slot.due - now, 1))
        now = slot.due
    assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACKOFF]
    assert set(pauses[7:]) == {MAX_BACKOFF}


def test_a_process_that_had_lived_is_replaced_quickly_again() -> None:
    slot = WORKER
    for _ in range(10):
        slot = slot.started(0.0).exited(0.0)
    slot = slot.started(100.0).exited(100.0 + STABLE_AFTER)
    assert slot.failures == 1
    assert slot.due == 100.0 + STABLE_AFTER + 0.1


def test_a_slot_whose_store_is_broken_waits_far_longer() -> None:
    slot, pauses, now = WORKER, [], 0.0
    for _ in range(8):
        slot = slot.started(now).exited(now, broken=True)
        pauses.append(round(slot.due - now, 1))
        now = slot.due
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, MAX_BROKEN_BACKOFF, MAX_BROKEN_BACKOFF]


def test_a_slot_whose_start_failed_is_retried_after_longer_pauses() -> None:
    slot = WORKER.started(0.0).exited(100.0)
    pauses = []
    for _ in range(7):
        slot = slot.start_failed(100.0)
        pauses.append(round(slot.due - 100.0, 1))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACKOFF, MAX_BACKOFF]
    assert decide(INGRESS.started(0.0), slot, now=100.0 + MAX_BACKOFF) == Plan(start=(slot,))


def test_nothing_is_started_before_its_time() -> None:
    dead = WORKER.started(0.0).exited(0.0)
    assert decide(dead, now=0.0) == Plan(wake=0.1)
    assert decide(dead, now=0.1) == Plan(start=(dead,))


def test_a_worker_that_falls_silent_is_killed() -> None:
    worker = WORKER.started(0.0).sent_heartbeat(1.0)
    assert decide(worker, now=40.0) == Plan(wake=1.0)
    assert decide(worker, now=41.0) == Plan(kill=(worker,))
    assert decide(worker.was_killed(), now=42.0) == Plan(), "once is enough"


def test_a_worker_has_time_to_load_before_its_first_heartbeat() -> None:
    worker = WORKER.started(0.0)
    assert decide(worker, now=LIMITS.silence + 1).kill == ()
    assert decide(worker, now=START_TIMEOUT).kill == (worker,)


def test_a_new_process_is_not_blamed_for_the_silence_of_its_predecessor() -> None:
    worker = WORKER.started(0.0).sent_heartbeat(1.0).exited(2.0).started(500.0)
    assert decide(worker, now=501.0).kill == ()


def test_an_ingress_may_be_silent() -> None:
    assert decide(INGRESS.started(0.0), now=10_000.0) == Plan()


def test_when_stopping_nothing_is_started_and_what_lasts_is_killed_at_the_deadline() -> None:
    ingress, dead = INGRESS.started(0.0), WORKER.started(0.0).exited(1.0)
    assert decide(ingress, dead, now=20.0, stopping=10.0) == Plan(wake=20.0)
    assert decide(ingress, dead, now=40.0, stopping=10.0) == Plan(kill=(ingress,))
    assert decide(ingress.was_killed(), dead, now=41.0, stopping=10.0) == Plan()
    assert decide(INGRESS, dead, now=20.0, stopping=10.0) == Plan(done=True)
