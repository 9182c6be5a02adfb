"""One run: whatever a handler does, its message reaches an end, and the person hears of it."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offhook.core import loop_detection
from offhook.core.lifecycle import Delivery, SendState, State, Trigger
from offhook.core.messages import Reply, StatusUpdate
from offhook.core.reasons import Cause
from offhook.core.send_reference import send_reference
from offhook.errors import Discard, InvalidReply, NotRunning, RetryLater
from offhook.events import Handled, Sent, Topic
from offhook.observe.redaction import brief
from offhook.worker.handlers import Handlers
from offhook.worker.message import Message
from tests.worker.support import ACCOUNT, ANN, BOB, OURS, Line, handled_by, opened, serving

FAILURE, TIMEOUT = "sorry, it failed", "it takes longer"
NOTICES = {"failure_notice": FAILURE, "timeout_notice": TIMEOUT}


async def settle_one(
    tmp_path: Path,
    handlers: Handlers,
    *,
    runs: int = 1,
    body: str = "hello",
    look: Callable[[Line, str, list[Handled]], Any] | None = None,
    **settings: Any,
) -> None:
    """Let one message be handled, then look at what became of it."""
    async with opened(tmp_path, handlers, **{**NOTICES, **settings}) as line:
        sid = await line.receive(body)
        async with serving(line):
            handled = await line.told.runs(runs)
        if look is not None:
            await look(line, sid, handled)


async def test_what_a_handler_returns_is_in_the_ledger_once_it_is_done(tmp_path: Path) -> None:
    async def answer(message: Message) -> list[str | Reply]:
        return [f"You said: {message.body}", Reply("to you", to=BOB), "x" * 1700]

    async def look(line: Line, sid: str, handled: list[Handled]) -> None:
        assert await line.state(sid) is State.DONE
        ledger = await line.ledger(sid)
        assert list(ledger) == ["return:0", "return:1", "return:2", "return:2.1"]
        assert ledger["return:0"].body == "You said: hello"
        assert [send.to for send in ledger.values()] == [ANN, BOB, ANN, ANN]
        assert len(ledger["return:2.1"].body) == 100
        assert (handled[0].trigger, handled[0].error) == (Trigger.COMPLETE, "")

    await settle_one(tmp_path, handled_by(answer), look=look)


async def test_a_def_handler_runs_in_a_thread_with_the_context(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    def answer(message: Message) -> str:
        threads.append(threading.current_thread())
        asyncio.run(message.reply("first"))
        return "then"

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert threads[0] is not threading.main_thread()
        assert [send.body for send in (await line.ledger(sid)).values()] == ["first", "then"]

    await settle_one(tmp_path, handled_by(answer), look=look)


async def test_a_def_handler_replies_without_await(tmp_path: Path) -> None:
    repeated: list[bool] = []

    def answer(message: Message) -> str:
        repeated.append(message.reply("first").repeated)
        message.reply("named", key="name")
        asyncio.run(message.reply("third"))  # as it was documented
        if message.attempt == 1:
            raise RetryLater(0)
        return "then"

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert repeated == [False, True]
        assert [(send.identity, send.body) for send in (await line.ledger(sid)).values()] == [
            ("reply:0", "first"),
            ("key:name", "named"),
            ("reply:1", "third"),
            ("return:0", "then"),
        ]
        assert line.told.topics() == []

    await settle_one(tmp_path, handled_by(answer), runs=2, look=look)


async def test_what_a_reply_returned_may_be_returned(tmp_path: Path) -> None:
    def answer(message: Message) -> Any:
        return message.reply("only once")

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert await line.state(sid) is State.DONE
        assert [send.body for send in (await line.ledger(sid)).values()] == ["only once"]

    await settle_one(tmp_path, handled_by(answer), look=look)


async def test_threads_and_loops_of_a_handlers_own_may_reply(tmp_path: Path) -> None:
    def answer(message: Message) -> None:
        async def both() -> None:
            await asyncio.gather(message.reply("b"), message.reply("c"))

        thread = threading.Thread(target=message.reply, args=("a",))
        thread.start()
        thread.join()
        asyncio.run(both())

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert [send.body for send in (await line.ledger(sid)).values()] == ["a", "b", "c"]

    await settle_one(tmp_path, handled_by(answer), look=look)


async def test_a_reply_that_cannot_be_sent_fails_where_it_is_written(tmp_path: Path) -> None:
    def answer(message: Message) -> str:
        with pytest.raises(InvalidReply, match="https://"):
            message.reply("a cat", media=["/local/file.jpg"])
        return "no picture"

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert [send.body for send in (await line.ledger(sid)).values()] == ["no picture"]

    await settle_one(tmp_path, handled_by(answer), look=look)


async def forgets(message: Message) -> str:
    message.reply("lost")
    message.reply("lost too")
    return "then"


async def returns_it(message: Message) -> Any:
    return message.reply("lost")


def forgets_in_a_loop(message: Message) -> str:
    async def inner() -> None:
        message.reply("lost")

    asyncio.run(inner())
    return "then"


@pytest.mark.parametrize(
    ("handler", "lines"), [(forgets, [1, 2]), (returns_it, [1]), (forgets_in_a_loop, [2])]
)
async def test_a_reply_that_nobody_awaited_is_an_error_that_names_its_line(
    tmp_path: Path, handler: Callable[..., Any], lines: list[int]
) -> None:
    first = handler.__code__.co_firstlineno
    where = ",".join(f"{__file__}:{first + number}" for number in lines)

    async def look(line: Line, sid: str, handled: list[Handled]) -> None:
        record = await line.record(sid)
        assert record.state is State.DEAD
        assert record.error == handled[0].error == Cause.NOT_AWAITED(where)
        problem = await line.told.problem(Topic.REPLY_NOT_AWAITED)
        assert where in problem.text
        assert list(await line.ledger(sid)) == ["notice:failure"]

    await settle_one(tmp_path, handled_by(handler, max_attempts=1), look=look)


async def test_a_reply_that_was_made_a_task_of_is_written(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def answer(message: Message) -> str:
        tasks.append(asyncio.create_task(message.reply("on its way")))
        return "then"

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert [send.body for send in (await line.ledger(sid)).values()] == ["on its way", "then"]

    await settle_one(tmp_path, handled_by(answer), look=look)


async def test_what_a_reply_will_return_is_not_there_before_it_is_awaited(tmp_path: Path) -> None:
    async def answer(message: Message) -> str:
        reply = message.reply("hello")
        with pytest.raises(AttributeError, match=r"await it .*test_run.py"):
            _ = reply.sid
        await reply
        return "then"

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert [send.body for send in (await line.ledger(sid)).values()] == ["hello", "then"]

    await settle_one(tmp_path, handled_by(answer), look=look)


def test_a_thread_cannot_reply_after_its_run_nor_after_its_worker(tmp_path: Path) -> None:
    kept: list[Message] = []

    def keep(message: Message) -> None:
        kept.append(message)

    async def look(_line: Line, _sid: str, _handled: list[Handled]) -> None:
        with pytest.raises(NotRunning, match="the run of this message is over"):
            await asyncio.to_thread(kept[0].reply, "late")

    asyncio.run(settle_one(tmp_path, handled_by(keep), look=look))
    with pytest.raises(NotRunning, match="the worker of this run has ended"):
        kept[0].reply("later")


variable = contextvars.ContextVar("variable", default="")


async def test_a_thread_has_a_copy_of_the_context(tmp_path: Path) -> None:
    def answer() -> str:
        seen = variable.get()
        variable.set("changed")
        return seen

    async with opened(tmp_path, handled_by(answer)) as line:
        sids = [await line.receive("one"), await line.receive("two")]
        variable.set("outside")
        async with serving(line):
            await line.told.runs(2)
        for sid in sids:
            assert (await line.ledger(sid))["return:0"].body == "outside"


async def test_a_plain_function_around_a_coroutine_is_awaited(tmp_path: Path) -> None:
    async def inner(message: Message) -> str:
        await asyncio.sleep(0)
        return message.body.upper()

    def outer(message: Message) -> Any:
        return inner(message)

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert (await line.ledger(sid))["return:0"].body == "HELLO"

    await settle_one(tmp_path, handled_by(outer), look=look)


def fails() -> None:
    raise LookupError("no such thing")


async def fails_async() -> None:
    raise LookupError("no such thing")


def exits() -> None:
    raise SystemExit(3)


async def exits_async() -> None:
    raise SystemExit(3)


async def is_cancelled() -> None:
    raise asyncio.CancelledError


def ends_iteration() -> None:
    raise StopIteration


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (fails, "LookupError"),
        (fails_async, "LookupError"),
        (exits, "SystemExit"),
        (exits_async, "SystemExit"),
        (is_cancelled, "CancelledError"),
        (ends_iteration, "RuntimeError"),
        (lambda: 42, "InvalidReply"),
        (lambda: "  ", "InvalidReply"),
        (lambda: ["fine", ""], "InvalidReply"),
        (lambda: Reply("x", to="+1\ud800"), "InvalidReply"),
        (lambda: Reply("x", content_variables={"1": 2}), "InvalidReply"),  # type: ignore[dict-item]
    ],
)
async def test_a_handler_that_fails_for_good_is_dead_and_the_person_told(
    tmp_path: Path, handler: Callable[..., Any], error: str
) -> None:
    async def look(line: Line, sid: str, handled: list[Handled]) -> None:
        record = await line.record(sid)
        assert record.state is State.DEAD
        assert error in str(record.error)
        assert (handled[0].trigger, handled[0].error) == (Trigger.GIVE_UP, error)
        ledger = await line.ledger(sid)
        assert [send.body for send in ledger.values()] == [FAILURE]
        assert ledger["notice:failure"].to == ANN

    await settle_one(tmp_path, handled_by(handler), look=look, max_attempts=1)


async def test_what_where_raises_is_a_failed_attempt(tmp_path: Path) -> None:
    async def look(line: Line, sid: str, handled: list[Handled]) -> None:
        assert await line.state(sid) is State.DEAD
        assert handled[0].error == "KeyError"

    handlers = handled_by(fails, where=lambda message: message.raw["missing"])
    await settle_one(tmp_path, handlers, look=look, max_attempts=1)


async def test_a_failure_is_tried_again_and_may_succeed(tmp_path: Path) -> None:
    attempts: list[int] = []

    def second_time(message: Message) -> str:
        attempts.append(message.attempt)
        if message.attempt == 1:
            raise ConnectionError
        return "done"

    async def look(line: Line, sid: str, handled: list[Handled]) -> None:
        assert attempts == [1, 2]
        assert [event.trigger for event in handled] == [Trigger.RETRY, Trigger.COMPLETE]
        assert handled[1].waited >= 0.5  # the first delay is a second, less half at most
        assert [send.body for send in (await line.ledger(sid)).values()] == ["done"]

    await settle_one(tmp_path, handled_by(second_time), runs=2, look=look)


async def test_discard_ends_without_notice_or_retry(tmp_path: Path) -> None:
    def unwanted() -> None:
        raise Discard("spam")

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        record = await line.record(sid)
        assert (record.state, record.error) == (State.DISCARDED, "spam")
        assert not await line.ledger(sid)

    await settle_one(tmp_path, handled_by(unwanted), look=look)


async def test_retry_later_counts_as_an_attempt(tmp_path: Path) -> None:
    attempts: list[int] = []

    def not_yet(message: Message) -> None:
        attempts.append(message.attempt)
        raise RetryLater(0.01)

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert attempts == [1, 2, 3]
        assert await line.state(sid) is State.DEAD
        assert list(await line.ledger(sid)) == ["notice:failure"]

    await settle_one(tmp_path, handled_by(not_yet, max_attempts=3), runs=3, look=look)


async def test_a_message_nobody_handles_is_discarded(tmp_path: Path) -> None:
    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        record = await line.record(sid)
        assert (record.state, record.error) == (State.DISCARDED, Cause.NO_HANDLER("sms"))

    await settle_one(tmp_path, handled_by(fails, channel="whatsapp"), look=look)


async def test_a_coroutine_is_cancelled_at_its_timeout_and_the_person_told_once(
    tmp_path: Path,
) -> None:
    cancelled: list[int] = []

    async def hangs(message: Message) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(message.attempt)

    async def look(line: Line, sid: str, handled: list[Handled]) -> None:
        assert cancelled == [1, 2, 3]
        assert handled[0].error == Cause.TIMED_OUT(0.05)
        assert await line.state(sid) is State.DEAD
        ledger = await line.ledger(sid)
        assert [send.body for send in ledger.values()] == [TIMEOUT, FAILURE]

    handlers = handled_by(hangs, timeout=0.05, max_attempts=3)
    await settle_one(tmp_path, handlers, runs=3, look=look)


async def test_the_last_timeout_does_not_promise_another_try(tmp_path: Path) -> None:
    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert list(await line.ledger(sid)) == ["notice:failure"]

    async def hangs() -> None:
        await asyncio.Event().wait()

    await settle_one(tmp_path, handled_by(hangs, timeout=0.05, max_attempts=1), look=look)


@pytest.mark.parametrize("kind", ["thread", "coroutine"])
async def test_a_handler_that_outlives_its_timeout_holds_its_lane(
    tmp_path: Path, kind: str
) -> None:
    """Until the code has really ended, nothing of its lane may run; others go on meanwhile."""
    running: list[str] = []

    release = threading.Event()
    release_async = asyncio.Event()

    def in_thread(message: Message) -> str:
        running.append(message.body)
        if message.body == "stuck":
            release.wait(60)
        return "too late"

    async def suppressing(message: Message) -> str:
        running.append(message.body)
        while message.body == "stuck" and not release_async.is_set():
            try:
                await release_async.wait()
            except asyncio.CancelledError:
                with pytest.raises(NotRunning):
                    await message.reply("the time is over")
        return "too late"

    handlers, answer = Handlers(), in_thread if kind == "thread" else suppressing
    handlers.add_message(
        answer, where=lambda message: message.body == "stuck", timeout=0.05, max_attempts=1
    )
    handlers.add_message(answer)
    # A lease shorter than the wait: it must be renewed meanwhile.
    async with opened(tmp_path, handlers, lease=3.0, **NOTICES) as line, serving(line):
        stuck = await line.receive("stuck")
        behind = await line.receive("behind")
        for number in range(3):
            await line.receive(f"other {number}", sender=BOB)
            await line.told.runs(number + 1)
        await asyncio.sleep(3.5)  # longer than the lease
        assert await line.state(stuck) is State.RUNNING
        assert await line.state(behind) is State.OPEN
        release.set()
        release_async.set()
        await line.told.runs(5)
        assert await line.state(stuck) is State.DEAD
        assert list(await line.ledger(stuck)) == ["notice:failure"]
        assert await line.state(behind) is State.DONE
        assert running == ["stuck", "other 0", "other 1", "other 2", "behind"]
        assert Topic.LEASE_LOST not in line.told.topics()


async def test_a_repeated_attempt_sends_nothing_twice(tmp_path: Path) -> None:
    repeated: list[bool] = []

    async def answer(message: Message) -> str:
        first = await message.reply("one moment")
        keyed = await message.reply(f"attempt {message.attempt}", key="progress.1")
        repeated.extend([first.repeated, keyed.repeated])
        if message.attempt == 1:
            raise RetryLater(0)
        return "done"

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert repeated == [False, False, True, True]
        sends = await line.ledger(sid)
        assert {identity: send.body for identity, send in sends.items()} == {
            "reply:0": "one moment",
            "key:progress.1": "attempt 1",
            "return:0": "done",
        }
        assert line.told.topics() == [Topic.REPLY_DIFFERS]

    await settle_one(tmp_path, handled_by(answer), runs=2, look=look)


async def test_a_message_cannot_be_replied_to_after_its_run(tmp_path: Path) -> None:
    kept: list[Message] = []

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        with pytest.raises(NotRunning):
            await kept[0].reply("late")
        assert not await line.ledger(sid)

    def keep(message: Message) -> None:
        kept.append(message)

    await settle_one(tmp_path, handled_by(keep), look=look)


async def talked(line: Line, turns: int) -> list[str]:
    """Answer each reply as soon as it has left, so many times; return the SIDs."""
    sids = []
    for number in range(turns):
        sids.append(await line.receive(f"answer {number}"))
        await line.told.runs(number + 1)
        if await line.state(sids[-1]) is State.DONE:
            await line.told.until(lambda count=number + 1: len(line.told.of(Sent)) >= count)  # type: ignore[misc]
    return sids


async def test_who_answers_again_and_again_as_no_person_could_is_parked_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_detection, "PROBE", 0.01)

    async with (
        opened(tmp_path, handled_by(lambda: "you said"), loop_limit=(3, 60.0)) as line,
        serving(line, sends=True),
    ):
        *sids, fourth = await talked(line, 4)
        assert [await line.state(sid) for sid in sids] == [State.DONE] * 3
        parked = await line.record(fourth)
        assert parked.state is State.PARKED
        assert parked.error == Cause.LOOP_SUSPECTED(3)
        assert Topic.LOOP_SUSPECTED in line.told.topics()
        other = await line.receive("hello", sender=BOB)
        await line.told.runs(5)
        assert await line.state(other) is State.DONE
        stop = await line.receive("STOP")
        await line.told.runs(6)
        assert await line.state(stop) is State.DISCARDED
        await asyncio.sleep(loop_detection.PACE)  # whoever it was, that was a pause
        later = await line.receive("is anybody there?")
        await line.told.runs(7)
        assert await line.state(later) is State.DONE
        assert await line.store.replay(parked.id)
        await line.told.runs(8)
        assert await line.state(fourth) is State.DONE


async def test_without_a_limit_nobody_is_parked(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, handled_by(lambda: "you said"), loop_limit=None) as line,
        serving(line, sends=True),
    ):
        sids = await talked(line, 30)
        assert [await line.state(sid) for sid in sids] == [State.DONE] * 30


async def test_ten_fragments_to_a_bot_that_answers_in_three_sentences_are_handled(
    tmp_path: Path,
) -> None:
    async with (
        opened(tmp_path, handled_by(lambda: ["One.", "Two.", "Three."])) as line,
        serving(line, sends=True),
    ):
        sids = []
        for number in range(10):
            sids.append(await line.receive(f"fragment {number}"))
            await line.told.until(
                lambda count=3 * number + 3: len(line.told.of(Sent)) >= count  # type: ignore[misc]
            )
        assert [await line.state(sid) for sid in sids] == [State.DONE] * 10


async def test_thirty_pictures_sent_at_once_are_no_loop_however_fast_the_bot_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_detection, "PROBE", 8.0)  # a busy machine may take some for them

    async with (
        opened(tmp_path, handled_by(lambda: "Got it."), loop_limit=(20, 60.0)) as line,
        serving(line, sends=True),
    ):
        sids = []
        for _ in range(30):
            sids.append(await line.receive("", NumMedia="1"))
            await asyncio.sleep(0.01)  # within which the bot answers; all take less than a probe
        await line.told.runs(30)
        assert [await line.state(sid) for sid in sids] == [State.DONE] * 30


async def test_who_opts_out_gets_nothing_any_more(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: "you said"), **NOTICES) as line:
        before, stop = await line.receive("hello"), await line.receive("stop")
        other = await line.receive("hello", sender=BOB)
        async with serving(line):
            await line.told.runs(3)
        record = await line.record(stop)
        assert (record.state, record.error) == (State.DISCARDED, Cause.NO_HANDLER("STOP"))
        assert brief(record.error, reveal=False) == "no handler for STOP"
        (canceled,) = (await line.ledger(before)).values()
        assert canceled.state is SendState.CANCELED
        (pending,) = (await line.ledger(other)).values()
        assert pending.state is SendState.PENDING


async def test_a_stop_by_rcs_is_one_and_reaches_no_message_handler(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(lambda: "you said", channel="RCS")) as line:
        before = await line.receive("hello", sender="rcs:+15551230001")
        stop = await line.receive("Stop", sender="RCS:+15551230001")
        async with serving(line):
            await line.told.runs(2)
        assert (await line.record(stop)).error == Cause.NO_HANDLER("STOP")
        (canceled,) = (await line.ledger(before)).values()
        assert canceled.state is SendState.CANCELED  # it was of the same conversation


async def test_an_account_may_have_other_words_for_an_opt_out(tmp_path: Path) -> None:
    words = {"opt_out_words": ("STOP", "BASTA")}
    async with opened(tmp_path, handled_by(lambda: "you said"), **words) as line:
        cancel, basta = await line.receive("cancel"), await line.receive("basta")
        async with serving(line):
            await line.told.runs(2)
        assert await line.state(cancel) is State.DONE
        assert await line.state(basta) is State.DISCARDED


async def test_an_opt_out_handler_is_told_and_its_failure_is_not_the_persons_business(
    tmp_path: Path,
) -> None:
    seen: list[str] = []

    def opted_out(message: Message) -> None:
        seen.append(message.opt_out)
        raise LookupError

    async def look(line: Line, sid: str, _handled: list[Handled]) -> None:
        assert seen == ["STOP"]
        assert await line.state(sid) is State.DEAD
        assert not await line.ledger(sid)

    handlers = handled_by(fails)
    handlers.add_opt_out(opted_out, max_attempts=1)
    await settle_one(tmp_path, handlers, body="STOP", look=look)


async def test_statuses_reach_the_ledger_and_then_the_handler(tmp_path: Path) -> None:
    """A status may come before Twilio's answer to the send has been recorded, and out of order."""
    seen: list[tuple[str, dict[str, str]]] = []

    async def watch(status: StatusUpdate) -> None:
        seen.append((status.status, dict(status.raw)))

    handlers = handled_by(lambda: "hello back")
    handlers.add_status(watch)
    async with opened(tmp_path, handlers) as line:
        sid = await line.receive("hello")
        async with serving(line):
            await line.told.runs(1)
            (send,) = (await line.store.claim_sends(1, lease=30.0, owner="dead")).claims
            for count, status in enumerate(("delivered", "sent"), start=2):
                await line.status("SM9", status, send=send_reference(send.id, ACCOUNT, "t"))
                await line.told.runs(count)
        (reply,) = (await line.ledger(sid)).values()
        assert (reply.state, reply.sid) == (SendState.SENT, "SM9")
        assert reply.delivery == Delivery("delivered")
        assert [status for status, _ in seen] == ["delivered", "sent"]
        assert "send" not in seen[0][1]
        assert seen[0][1]["From"] == OURS


@pytest.mark.parametrize("send", ["", "77", "9" * 30, "-1", "x"])
async def test_a_status_of_an_unknown_send_is_no_error(tmp_path: Path, send: str) -> None:
    async with opened(tmp_path, Handlers()) as line:
        await line.status("SM404", "delivered", send=send)
        async with serving(line):
            (handled,) = await line.told.runs(1)
        assert handled.trigger is Trigger.COMPLETE
        assert await line.state("SM404") is State.DONE


async def test_a_failing_status_handler_tells_nobody(tmp_path: Path) -> None:
    handlers = Handlers()
    handlers.add_status(fails, max_attempts=1)
    async with opened(tmp_path, handlers, **NOTICES) as line:
        await line.status("SM9", "delivered")
        async with serving(line):
            await line.told.runs(1)
        assert await line.state("SM9") is State.DEAD
        assert not await line.ledger("SM9")
