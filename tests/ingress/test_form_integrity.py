"""A form cut anew gets the same verdict at once, from memory, and when it is verified later."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from offhook.cache.memory import MemoryCache
from offhook.core.deferred import Deferred
from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.core.responses import Fault
from offhook.core.signature import sign
from offhook.ingress.credentials import Credentials
from offhook.ingress.reception import Reception
from offhook.ingress.validation import Rejection, Validator
from testing.webhooks import ACCOUNT, FORM, PUBLIC, TOKEN, encoded, line, refused, settings
from tests.core.test_form_integrity import ATTACKS
from tests.ingress.test_reception import watching

Pairs = Sequence[tuple[str, str]]
PATHS = {Kind.MESSAGE: "/twilio/messages", Kind.STATUS: "/twilio/status"}
EACH = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


def captured(kind: Kind, signed: Pairs, sent: Pairs) -> Request:
    return Request(
        kind=kind,
        method="POST",
        base=PUBLIC,
        path=PATHS[kind],
        query=b"",
        content_type=FORM,
        signature=sign(url=PUBLIC + PATHS[kind], params=signed, auth_token=TOKEN),
        body=encoded(sent),
        started=0.0,
    )


@EACH
async def test_a_form_cut_anew_is_refused_over_http(
    tmp_path: Path, attack: tuple[Kind, dict[str, str], Pairs]
) -> None:
    kind, genuine, forged = attack

    async with line(tmp_path) as running:
        sent = running.post(PATHS[kind], forged, signed=tuple(genuine.items()))
        told = await refused(running, sent, 400, "recut-fields")
        assert told.detail  # for the operator
        assert ACCOUNT not in told.detail


@EACH
async def test_the_cache_lets_no_form_in_that_was_cut_anew(
    tmp_path: Path, attack: tuple[Kind, dict[str, str], Pairs]
) -> None:
    kind, genuine, forged = attack
    fields = tuple(genuine.items())

    async with watching(tmp_path) as watched:
        watched.reception = Reception(
            watched.append, settings(), watched.events.append, cache=MemoryCache(ttl=300.0)
        )
        assert (await watched.process(captured(kind, fields, fields))).status < 300
        for cached in ("", "memory"):
            told = await watched.process(captured(kind, fields, forged))
            assert (told.error, told.cached) == (Fault.RECUT_FIELDS, cached)
        assert (await watched.process(captured(kind, fields, fields))).repeat
        assert len(watched.accepted) == 1


@EACH
def test_what_was_deferred_is_judged_alike(attack: tuple[Kind, dict[str, str], Pairs]) -> None:
    kind, genuine, forged = attack
    later = Deferred.of(
        Deferred(captured(kind, tuple(genuine.items()), forged), ACCOUNT).form
    ).request
    judged = Validator(settings(), Credentials(settings(), None, print)).at_once(later)
    assert isinstance(judged, Rejection)
    assert judged.reason is Fault.RECUT_FIELDS
