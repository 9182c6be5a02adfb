from collections.abc import Callable
from pathlib import Path

import pytest

from offhook.cli.demo_script import failed_checks, scenes
from offhook.dev.conversation import Acknowledged, Failed, Replied, Settled, TextEvent
from offhook.settings import Settings
from testing.commands import Call, Home

SCENES = scenes(Settings.load(env_file=None))
SIMPLE, SLOW, RETRIED = SCENES[:3]
GOOD: tuple[TextEvent, ...] = (
    Acknowledged("SM1", 200, 0.004),
    Replied("return:0", "You said: hello", "sent"),
    Settled("done", 1),
)


def late(output: str) -> int:
    """Return how many webhooks were acknowledged late, which alone may fail of a demo.

    On a machine that does other things too; how long it takes is measured in benchmarks/.
    """
    found = output.count("failed: it was acknowledged after")
    assert output.count("failed: ") == found, output
    return found


def test_once_shows_all_of_it_and_exits_0_whatever_the_environment_says(tmp_path: Path) -> None:
    home = Home(
        tmp_path, OFFHOOK_SLOW_NOTICE="", OFFHOOK_MAX_ATTEMPTS="none", TWILIO_AUTH_TOKEN="x"
    )
    shown = home.run("demo", "--once")
    slow = late(shown.stdout)
    assert shown.returncode == int(slow > 0), shown.stdout + shown.stderr
    assert shown.stderr == ""
    assert shown.stdout.count("acknowledged in ") == 5
    assert "One moment please" in shown.stdout
    assert "There I am. It took me 2 attempts." in shown.stdout
    assert "dead after 2 attempts" in shown.stdout
    assert ", 3 times" in shown.stdout
    assert ("All checks passed" in shown.stdout) == (slow == 0)
    assert not list(tmp_path.glob("*.db")), "nothing is left behind"


def test_it_stays_up_for_texts_and_ends_with_ctrl_c(
    tmp_path: Path, call_in: Callable[[Home], Call]
) -> None:
    home = Home(tmp_path)
    with home.start("demo", "--port", "0") as running:
        running.wait_for("The bot keeps running")
        assert "You said: hi" in call_in(home)("text", "hi").stdout
        running.interrupt()
        assert running.exit_status() == int(late(running.output) > 0), running.output
        assert "Traceback" not in running.output


def test_ctrl_c_in_the_middle_of_it(tmp_path: Path) -> None:
    with Home(tmp_path).start("demo", "--once") as running:
        running.wait_for("please think")
        running.interrupt()
        assert running.exit_status() == 130
        assert "Traceback" not in running.output


def test_no_promise_is_broken() -> None:
    assert failed_checks(SIMPLE, GOOD) == []


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ((Acknowledged("SM1", 403, 0.004, error=11200),), "answered (403,)"),
        ((Acknowledged("SM1", 200, 0.6), *GOOD[1:]), "acknowledged after 600.0 ms"),
        (GOOD[:2], "was not settled"),
        ((GOOD[0], GOOD[2]), "received ()"),
        ((*GOOD[:2], *GOOD[1:]), "received ('You said: hello', 'You said: hello')"),
        ((GOOD[0], Replied("return:0", "You said: hello", "unknown"), GOOD[2]), "is unknown"),
        ((*GOOD[:2], Settled("dead", 1)), "is dead after 1 attempts, expected done after 1"),
        ((*GOOD[:2], Settled("done", 2)), "is done after 2 attempts, expected done after 1"),
    ],
)
def test_each_failed_check_is_reported(steps: tuple[TextEvent, ...], complaint: str) -> None:
    assert any(complaint in line for line in failed_checks(SIMPLE, steps))


def test_a_failure_that_was_promised_is_none() -> None:
    steps = (
        Acknowledged("SM1", 200, 0.004),
        Failed(1, "ConnectionError", again=True),
        Replied("return:0", RETRIED.replies[0], "sent"),
        Settled("done", 2),
    )
    assert failed_checks(RETRIED, steps) == []


def test_a_notice_of_a_slow_machine_is_no_failure_but_one_that_was_promised_has_to_come() -> None:
    notice = Replied("notice:slow", SLOW.replies[0], "sent")
    assert failed_checks(SIMPLE, (GOOD[0], notice, *GOOD[1:])) == []
    answer = Replied("return:0", SLOW.replies[1], "sent")
    assert failed_checks(SLOW, (GOOD[0], notice, answer, GOOD[2])) == []
    assert failed_checks(SLOW, (GOOD[0], answer, GOOD[2]))
