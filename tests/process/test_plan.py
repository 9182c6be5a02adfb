from offhook.process.plan import (
    MAX_BACKOFF,
    MAX_BROKEN_BACKOFF,
    SETTLED_AFTER,
    START_LIMIT,
    Limits,
    Plan,
    Role,
    Seat,
    Situation,
    plan,
)

LIMITS = Limits(silence=40.0, drain=30.0)
INGRESS = Seat(Role.INGRESS, 1)
WORKER = Seat(Role.WORKER, 1)


def decide(*seats: Seat, now: float, stopping: float | None = None) -> Plan:
    return plan(Situation(seats, now, stopping, LIMITS))


def test_empty_seats_are_filled_at_once() -> None:
    assert decide(INGRESS, WORKER, now=5.0) == Plan(start=(INGRESS, WORKER))


def test_a_seat_whose_process_died_waits_longer_each_time_but_never_longer_than_the_cap() -> None:
    seat, pauses, now = WORKER, [], 0.0
    for _ in range(12):
        seat = seat.started(now).died(now)
        pauses.append(round(seat.due - now, 1))
        now = seat.due
    assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACKOFF]
    assert set(pauses[7:]) == {MAX_BACKOFF}


def test_a_process_that_had_lived_is_replaced_quickly_again() -> None:
    seat = WORKER
    for _ in range(10):
        seat = seat.started(0.0).died(0.0)
    seat = seat.started(100.0).died(100.0 + SETTLED_AFTER)
    assert seat.deaths == 1
    assert seat.due == 100.0 + SETTLED_AFTER + 0.1


def test_a_seat_whose_store_is_broken_waits_far_longer() -> None:
    seat, pauses, now = WORKER, [], 0.0
    for _ in range(8):
        seat = seat.started(now).died(now, broken=True)
        pauses.append(round(seat.due - now, 1))
        now = seat.due
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, MAX_BROKEN_BACKOFF, MAX_BROKEN_BACKOFF]


def test_a_seat_that_could_not_be_filled_is_tried_again_after_longer_pauses() -> None:
    seat = WORKER.started(0.0).died(100.0)
    pauses = []
    for _ in range(7):
        seat = seat.not_started(100.0)
        pauses.append(round(seat.due - 100.0, 1))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACKOFF, MAX_BACKOFF]
    assert decide(INGRESS.started(0.0), seat, now=100.0 + MAX_BACKOFF) == Plan(start=(seat,))


def test_nothing_is_started_before_its_time() -> None:
    dead = WORKER.started(0.0).died(0.0)
    assert decide(dead, now=0.0) == Plan(wake=0.1)
    assert decide(dead, now=0.1) == Plan(start=(dead,))


def test_a_worker_that_falls_silent_is_killed() -> None:
    worker = WORKER.started(0.0).gave_sign(1.0)
    assert decide(worker, now=40.0) == Plan(wake=1.0)
    assert decide(worker, now=41.0) == Plan(kill=(worker,))
    assert decide(worker.struck(), now=42.0) == Plan(), "once is enough"


def test_a_worker_has_time_to_load_before_its_first_sign() -> None:
    worker = WORKER.started(0.0)
    assert decide(worker, now=LIMITS.silence + 1).kill == ()
    assert decide(worker, now=START_LIMIT).kill == (worker,)


def test_a_new_process_does_not_answer_for_the_silence_of_the_one_before() -> None:
    worker = WORKER.started(0.0).gave_sign(1.0).died(2.0).started(500.0)
    assert decide(worker, now=501.0).kill == ()


def test_an_ingress_may_be_silent() -> None:
    assert decide(INGRESS.started(0.0), now=10_000.0) == Plan()


def test_when_stopping_nothing_is_started_and_what_lasts_is_killed_at_the_deadline() -> None:
    ingress, dead = INGRESS.started(0.0), WORKER.started(0.0).died(1.0)
    assert decide(ingress, dead, now=20.0, stopping=10.0) == Plan(wake=20.0)
    assert decide(ingress, dead, now=40.0, stopping=10.0) == Plan(kill=(ingress,))
    assert decide(ingress.struck(), dead, now=41.0, stopping=10.0) == Plan()
    assert decide(INGRESS, dead, now=20.0, stopping=10.0) == Plan(over=True)
