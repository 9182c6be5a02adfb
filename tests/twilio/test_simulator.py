import asyncio
import re

import pytest

from offhook.errors import ConfigurationError
from offhook.twilio.simulator import (
    Credentials,
    Event,
    Outbound,
    Simulator,
)
from offhook.twilio.simulator.log import EventLog
from testing.twilio.helpers import (
    Webhook,
    simulator,
)
from testing.twilio.line import (
    CREDENTIALS,
    OK,
    PERSON,
    create,
    on_the_line,
)


async def test_a_reply_is_waited_for_from_the_text_on() -> None:
    async with on_the_line() as (sim, _), sim.serve() as url:
        await create(url, Body="before")
        delivered = await sim.text("hi")
        waiting = asyncio.create_task(sim.wait_for(to=delivered.from_, after=delivered.after))
        await create(url, Body="to another", To="+15551230002")
        await create(url, Body="the reply")
        assert (await waiting).body == "the reply"
        again = await sim.wait_for(to=delivered.from_, after=delivered.after)
        assert again.body == "the reply"


async def test_a_listener_hears_all_that_happens_until_it_stops() -> None:
    answers = [(200, "text/xml", b"<Response><Message>x</Message></Response>"), OK]
    async with on_the_line(Webhook(answers=answers)) as (sim, _):
        heard: list[Event] = []
        with sim.listening(heard.append):
            delivered = await sim.text("hi")
            await sim.wait_for(lambda sent: sent.status == "delivered")
        await sim.text("unheard")
        kinds = [type(event).__name__ for event in heard]
        assert kinds == ["Texted", "Delivered", "Outbound", "Outbound", "Outbound"]
        assert heard[1] == delivered
        assert [event.status for event in heard if isinstance(event, Outbound)] == [
            "queued",
            "sent",
            "delivered",
        ]
        assert [one.body for one in sim.delivered] == ["hi", "unheard"]


async def test_what_was_written_to_may_be_sent_from() -> None:
    async with on_the_line() as (sim, _), sim.serve() as url:
        await sim.text("hi", to="+15005559999")
        assert (await create(url, From="+15005559999")).status_code == 201


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("AC" + "1" * 32, CREDENTIALS.auth_token),
        Credentials(CREDENTIALS.account_sid, "1" * 32),
    ],
)
def test_credentials_that_may_be_real_are_refused(credentials: Credentials) -> None:
    with pytest.raises(ConfigurationError, match="made-up"):
        Simulator(**credentials._asdict())


def test_credentials_look_like_twilios() -> None:
    account_sid, auth_token = Simulator.credentials()
    assert re.fullmatch(r"AC[0-9a-f]{32}", account_sid)
    assert re.fullmatch(r"[0-9a-f]{32}", auth_token)
    assert Simulator.credentials() != Simulator.credentials()


@pytest.mark.parametrize("url", ["", "/twilio/messages", "ftp://here/", "https://here/#rc=9"])
async def test_a_webhook_that_twilio_would_not_request_is_refused(url: str) -> None:
    async with simulator() as sim:
        sim.webhook_url = url
        with pytest.raises(ConfigurationError, match="webhook_url"):
            await sim.text("hi")
        assert sim.delivered == ()


def test_only_so_much_is_remembered() -> None:
    history = EventLog(kept=2)
    for number in range(1, 5):
        history.record(outbound(number))
    assert [sent.number for sent in history.outbound] == [3, 4]
    assert history.last_number == 4
    assert history.find("SM1") is None


def outbound(number: int) -> Outbound:
    return Outbound(
        number=number,
        sid=f"SM{number}",
        to=PERSON,
        from_="+15005550006",
        body="",
        media=(),
        time=0.0,
        statuses=("queued",),
    )
