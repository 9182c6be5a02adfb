import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import replace

import pytest

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.core.reasons import Cause, read, stored
from offhook.events import Answered, Event, Handled, Problem, Sent, Started, Topic
from offhook.observe.log import LINES_PER_SECOND, LogObserver, RateLimit, configure_logging
from offhook.observe.redaction import brief, mask, mask_numbers
from offhook.worker.outcome import traceback_of as kept_of

REFUSED = Answered(
    kind=Kind.MESSAGE, status=403, error="signature-mismatch", repeat=False, sid="SM1",
    sender="+15551230001", validate=0.001, enqueue=0.0, acknowledge=0.0, detail="the URL differs",
)  # fmt: skip
STORED = Answered(
    kind=Kind.MESSAGE, status=200, error="", repeat=False, sid="SM1",
    sender="+15551230001", validate=0.001, enqueue=0.002, acknowledge=0.0,
)  # fmt: skip
DEAD = Handled(
    message_id=7, kind=Kind.MESSAGE, sid="SM1", attempt=5, trigger=Trigger.GIVE_UP, waited=0.25,
    took=1.5, error="ValueError", traceback="Traceback ...\nValueError: what the person wrote",
)  # fmt: skip


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(*events: Event, level: str = "info", as_json: bool = False, **more: bool) -> list[str]:
    stream = io.StringIO()
    configure_logging(level, as_json=as_json, stream=stream, **more)
    observer = LogObserver()
    for event in events:
        observer(event)
    return stream.getvalue().splitlines()


def test_a_refusal_says_which_part_did_not_fit_and_masks_the_number() -> None:
    (line,) = logged(REFUSED)
    assert "WARNING message answered 403 signature-mismatch: the URL differs" in line
    assert "sid=SM1 from=+1555***0001 ms=1.0" in line
    assert "15551230001" not in line


def test_what_a_handler_logs_says_which_message_it_is_about() -> None:
    stream = io.StringIO()
    configure_logging("info", as_json=True, stream=stream)

    def run() -> None:
        LogObserver()(Started(7, Kind.MESSAGE, "SM1", 2))
        logging.getLogger("bot").info("asked the model")

    copy_context().run(run)
    logging.getLogger("bot").info("at leisure")
    during, after = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (during["message"], during["sid"], during["attempt"]) == (7, "SM1", 2)
    assert (during["logger"], during["text"]) == ("bot", "asked the model")
    assert not after.keys() & {"message", "sid", "attempt"}


def test_json_is_one_object_a_line() -> None:
    lines = [json.loads(line) for line in logged(REFUSED, DEAD, as_json=True)]
    assert [line["level"] for line in lines] == ["warning", "error"]
    assert lines[0]["from"] == "+1555***0001"
    assert lines[1] | {"time": "", "text": ""} == {
        "time": "", "text": "", "level": "error", "logger": "offhook", "message": 7, "sid": "SM1",
        "attempt": 5, "waited_ms": 250.0, "ms": 1500.0, "error": "ValueError",
    }  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_person_wrote_shows_only_when_tracebacks_are_asked_for(as_json: bool) -> None:
    assert "what the person wrote" not in "".join(logged(DEAD, as_json=as_json))
    assert "what the person wrote" in "".join(logged(DEAD, as_json=as_json, tracebacks=True))


def test_accepted_webhooks_are_told_at_debug_alone() -> None:
    assert logged(STORED) == []
    (line,) = logged(STORED, level="debug")
    assert "DEBUG   message stored" in line
    assert "ms=3.0" in line


def test_of_many_runs_that_complete_a_few_are_told_but_of_those_that_fail_all() -> None:
    done = replace(DEAD, trigger=Trigger.COMPLETE, error="", traceback="")
    many = 10 * LINES_PER_SECOND
    assert LINES_PER_SECOND <= len(logged(*[done] * many)) < many
    assert len(logged(*[done] * many, level="debug")) == many
    assert len(logged(*[DEAD] * many)) == many


def test_a_forged_sid_cannot_begin_a_line_of_its_own() -> None:
    forged = Answered(
        kind=Kind.MESSAGE, status=403, error="missing-signature", repeat=False,
        sid="SM1\n12:00:00 ERROR forged\x1b[31m", sender="\n+15551230001",
        validate=0.0, enqueue=0.0, acknowledge=0.0,
    )  # fmt: skip
    (line,) = logged(forged)
    assert "\x1b" not in line


def test_the_levels_tell_what_needs_somebody() -> None:
    sent = Sent(3, 7, "return:0", SendTrigger.ACCEPT, 0.1, sid="SM2")
    refused = Sent(3, 7, "return:0", SendTrigger.REFUSE, 0.1, error="21610: opted out")
    lost = Sent(3, 7, "return:0", SendTrigger.LOSE, 0.1)
    away = Problem(Topic.STORE_UNAVAILABLE, "the store is away")
    back = Problem(Topic.STORE_UNAVAILABLE, "the store is back", resolved=True)
    lines = logged(sent, refused, lost, away, back, level="debug")
    assert [line.split()[1] for line in lines] == ["DEBUG", "ERROR", "WARNING", "WARNING", "INFO"]


POSTPONED = Sent(
    3, 7, "return:0", SendTrigger.POSTPONE, 0.1, error="Twilio is not reached", retry_in=2.0
)


def test_a_postponed_reply_is_told_in_words() -> None:
    (line,) = logged(POSTPONED)
    assert "WARNING reply postponed, next attempt in 2 s" in line
    assert "message=7" in line
    assert "error=Twilio is not reached" in line


def test_lines_are_whole_where_no_log_is_configured() -> None:
    program = """
from offhook.events import *
from offhook.core.lifecycle import SendTrigger
from offhook.observe.log import LogObserver
told = LogObserver()
for trigger in (SendTrigger.ACCEPT, SendTrigger.POSTPONE):
    told(Sent(3, 7, "return:0", trigger, 0.1, error="Twilio is not reached", retry_in=2.0))
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stderr
    (line,) = said.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} WARNING reply postponed, next attempt in 2 s ", line)
    assert "message=7" in line
    assert "error=Twilio is not reached" in line


def test_loggers_of_the_user_are_shown_and_chatty_libraries_are_not() -> None:
    stream = io.StringIO()
    configure_logging("info", as_json=False, stream=stream)
    logging.getLogger("bot").info("mine")
    logging.getLogger("watchfiles").info("GET https://example.com/?Body=secret")
    logging.getLogger("bot").error("failed", exc_info=RuntimeError("broken"))
    text = stream.getvalue()
    assert "mine" in text
    assert "secret" not in text
    assert "RuntimeError: broken" in text


def test_a_flood_of_refusals_is_no_flood_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.observe.log._SECOND", 60.0)
    lines = logged(*[REFUSED] * 1000, STORED, REFUSED._replace(error="missing-signature"))
    assert [("signature-mismatch" in line) for line in lines] == [True] * LINES_PER_SECOND + [False]


def test_what_was_not_told_is_counted() -> None:
    now = 0.0
    pace = RateLimit(clock=lambda: now)
    assert [pace.admit("a") for _ in range(LINES_PER_SECOND + 5)] == [0] * LINES_PER_SECOND + [
        None
    ] * 5
    assert pace.admit("b") == 0
    now = 1.0
    assert [pace.admit("a"), pace.admit("a")] == [5, 0]
    now = 2.0
    assert pace.admit("a") == 0


WORDS = "what a person wrote"


def failing() -> BaseException:
    """Return an error behind others, each with words that quote somebody."""
    try:
        try:
            raise KeyError(WORDS)  # noqa: TRY301 - so that it has a traceback
        except KeyError as cause:
            raise ExceptionGroup(WORDS, [OSError(WORDS)]) from cause
    except ExceptionGroup as error:
        return error


@pytest.mark.parametrize("name", ["offhook", "uvicorn.error", "asyncio"])
def test_an_error_is_shown_where_it_was_but_not_in_its_words(name: str) -> None:
    for with_words in (False, True):
        stream = io.StringIO()
        configure_logging("info", as_json=False, tracebacks=with_words, stream=stream)
        log = logging.getLogger(name)
        shown = f"\nexception={WORDS}" if name == "asyncio" else ""
        log.error("it failed%s", shown, exc_info=failing())
        text = stream.getvalue()
        assert (WORDS in text) is with_words
        assert "it failed" in text
        assert "in failing" in text
        for kind in ("KeyError", "ExceptionGroup", "OSError"):
            assert kind in text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("+15551230001", "+1555***0001"),
        ("whatsapp:+15551230001", "whatsapp:+1555***0001"),
        ("+4930", "***"),
        ("+47123456", "***"),
        ("+47123456789", "+4712***6789"),
        ("whatsapp:x", "whatsapp:***"),
        ("", ""),
    ],
)
def test_mask(address: str, shown: str) -> None:
    assert mask(address) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The number +15551230001 is odd.", "The number +1555***0001 is odd."),
        ("to +1 (555) 123-0001: no", "to +1 (5***0001: no"),
        ("15551230001 is odd", "*** is odd"),
        ("whatsapp:US.13491208655302741918 is odd", "whatsapp:US.13***1918 is odd"),
        ("id US.ENT.11815799212886844830.", "id US.EN***4830."),
        ("Twilio answered 500 (error 20500) at 127.0.0.1:8080", None),
        ("SM00000000000000000000000000000012", None),
    ],
)
def test_the_numbers_in_a_text_are_masked(text: str, shown: str | None) -> None:
    assert mask_numbers(text) == (text if shown is None else shown)


def traceback_of(error: Exception) -> str:
    """Return what the worker keeps of an error."""
    try:
        raise error  # noqa: TRY301 - the subject
    except Exception as raised:  # noqa: BLE001 - whichever the test has made
        return kept_of(raised)


def noted(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (traceback_of(ValueError("my secret")), "ValueError"),
        (traceback_of(ValueError("one\nmy secret")), "ValueError"),
        (traceback_of(ValueError("\nmy secret: yes\n")), "ValueError"),
        (traceback_of(ValueError('one\n  File "x"\nmy secret')), ""),
        (traceback_of(noted(ValueError("one"), "my secret")), "ValueError"),
        (traceback_of(ValueError("my secret\n" * 9000)), ""),
        (traceback_of(KeyError()), "KeyError"),
        ("not for us: my secret", ""),
        ("Ann: my secret", ""),
        ("Ann", ""),
        ("my secret", ""),
        ("ValueError: my secret", "ValueError"),
        ("shop.errors.StockError: my secret", "shop.errors.StockError"),
        ("one\nmy secret", ""),
        ("", ""),
    ],
    ids=range(15),
)
def test_an_error_shows_no_word_of_a_persons(error: str, shown: str) -> None:
    assert brief(read(stored(error)), reveal=False) == shown


@pytest.mark.parametrize("cause", Cause)
def test_an_explanation_shows_whole(cause: Cause) -> None:
    explained = cause(*(n for n in range(2, 2 + cause.sentence.count("{}"))))
    assert brief(explained, reveal=False) == str(explained)
