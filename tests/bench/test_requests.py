"""What is made in haste is what Twilio would have sent: our own validation accepts it."""

import itertools
from collections import Counter
from typing import NamedTuple

import pytest

from offhook.bench.requests import Kind, Mix, Shot, Supply
from offhook.bench.target import Target
from testing.signatures import verify

ACCOUNT = "AC" + "1" * 32
TOKEN = "made up"
TARGET = Target.parse("http://127.0.0.1:8000", public_url="https://bot.example.com/hooks")


class Parsed(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


def parse(shot: Shot) -> Parsed:
    head, _, body = shot.data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["Content-Length"]) == len(body)
    return Parsed(first.split()[1], headers, body)


def is_genuine(shot: Shot) -> bool:
    request = parse(shot)
    return bool(
        verify(
            url=TARGET.signed_base + request.path, method="POST", body=request.body,
            content_type=request.headers["Content-Type"],
            signature=request.headers["X-Twilio-Signature"], auth_tokens=[TOKEN],
        )
    )  # fmt: skip


def supply(count: int, mix: Mix, **options: bool) -> list[Shot]:
    made = Supply(TARGET, account_sid=ACCOUNT, auth_token=TOKEN, mix=mix, **options)
    made.prepare(count // 2)  # the rest is made when it is asked for
    return list(itertools.islice(made, count))


def test_each_kind_is_signed_but_the_forged() -> None:
    shots = supply(400, Mix(media=20, statuses=20, repeats=20, forged=20))
    assert {shot.kind for shot in shots} == set(Kind)
    for shot in shots:
        assert is_genuine(shot) == (shot.kind is not Kind.FORGED), shot
        assert parse(shot).headers["Host"] == "bot.example.com"
        expected = "/twilio/status" if shot.kind is Kind.STATUS else "/twilio/messages"
        assert parse(shot).path == expected


def test_each_message_has_a_sid_of_its_own_and_a_repeat_that_of_another() -> None:
    shots = supply(400, Mix(repeats=25))
    first = {shot.sid: shot.data for shot in shots if shot.kind is Kind.FRESH}
    repeats = [shot for shot in shots if shot.kind is Kind.REPEAT]
    assert len(first) + len(repeats) == len(shots)
    assert all(first[shot.sid] == shot.data for shot in repeats)


def test_shares_are_as_asked_for() -> None:
    kinds = Counter(shot.kind for shot in supply(10_000, Mix(repeats=1, forged=10)))
    assert kinds[Kind.REPEAT] == pytest.approx(100, rel=0.5)
    assert kinds[Kind.FORGED] == pytest.approx(1000, rel=0.2)


def test_connections_end_where_each_request_has_its_own() -> None:
    [kept] = supply(1, Mix())
    [alone] = supply(1, Mix(), close=True)
    assert "Connection" not in parse(kept).headers
    assert parse(alone).headers["Connection"] == "close"


@pytest.mark.parametrize("mix", [{"repeats": 60, "forged": 50}, {"media": -1}])
def test_a_mix_of_more_than_all_is_refused(mix: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="percentages"):
        Mix(**mix)
