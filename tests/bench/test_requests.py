"""What is made in haste is what Twilio would have sent: our own validation accepts it."""

import itertools
from collections import Counter
from typing import NamedTuple

import pytest

from offhook.bench.requests import Mix, RequestKind, RequestSource, SignedRequest
from offhook.bench.target import Target
from testing.signatures import verify

ACCOUNT = "AC" + "1" * 32
TOKEN = "made up"
TARGET = Target.parse("http://127.0.0.1:8000", public_url="https://bot.example.com/hooks")


class Parsed(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


def parse(request: SignedRequest) -> Parsed:
    head, _, body = request.data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["Content-Length"]) == len(body)
    return Parsed(first.split()[1], headers, body)


def is_genuine(request: SignedRequest) -> bool:
    parsed = parse(request)
    return bool(
        verify(
            url=TARGET.signed_base + parsed.path, method="POST", body=parsed.body,
            content_type=parsed.headers["Content-Type"],
            signature=parsed.headers["X-Twilio-Signature"], auth_tokens=[TOKEN],
        )
    )  # fmt: skip


def requests(count: int, mix: Mix, **options: bool) -> list[SignedRequest]:
    made = RequestSource(TARGET, account_sid=ACCOUNT, auth_token=TOKEN, mix=mix, **options)
    made.prepare(count // 2)  # the rest is made when it is asked for
    return list(itertools.islice(made, count))


def test_each_kind_is_signed_but_the_forged() -> None:
    made = requests(400, Mix(media=20, statuses=20, repeats=20, forged=20))
    assert {request.kind for request in made} == set(RequestKind)
    for request in made:
        assert is_genuine(request) == (request.kind is not RequestKind.FORGED), request
        assert parse(request).headers["Host"] == "bot.example.com"
        expected = "/twilio/status" if request.kind is RequestKind.STATUS else "/twilio/messages"
        assert parse(request).path == expected


def test_each_message_has_a_sid_of_its_own_and_a_repeat_that_of_another() -> None:
    made = requests(400, Mix(repeats=25))
    first = {request.sid: request.data for request in made if request.kind is RequestKind.FRESH}
    repeats = [request for request in made if request.kind is RequestKind.REPEAT]
    assert len(first) + len(repeats) == len(made)
    assert all(first[request.sid] == request.data for request in repeats)


def test_shares_are_as_asked_for() -> None:
    kinds = Counter(request.kind for request in requests(10_000, Mix(repeats=1, forged=10)))
    assert kinds[RequestKind.REPEAT] == pytest.approx(100, rel=0.5)
    assert kinds[RequestKind.FORGED] == pytest.approx(1000, rel=0.2)


def test_connections_end_where_each_request_has_its_own() -> None:
    [kept] = requests(1, Mix())
    [alone] = requests(1, Mix(), close=True)
    assert "Connection" not in parse(kept).headers
    assert parse(alone).headers["Connection"] == "close"


@pytest.mark.parametrize("mix", [{"repeats": 60, "forged": 50}, {"media": -1}])
def test_a_mix_of_more_than_all_is_refused(mix: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="percentages"):
        Mix(**mix)
