"""The simulated Twilio's resources, asked over real HTTP as the official SDK asks them."""

from typing import Any

import httpx2
import pytest

from offhook.errors import ConfigurationError
from offhook.twilio.simulator import Simulator
from testing.plain_http import PlainAsyncClient
from testing.twilio.helpers import Webhook, simulator
from testing.twilio.line import CREDENTIALS, on_the_line, valid

ACCOUNT = f"/2010-04-01/Accounts/{CREDENTIALS.account_sid}"
NUMBERS = f"{ACCOUNT}/IncomingPhoneNumbers"
SECOND = Simulator.credentials().auth_token


def client(url: str, token: str = CREDENTIALS.auth_token) -> httpx2.AsyncClient:
    return PlainAsyncClient(base_url=url, auth=(CREDENTIALS.account_sid, token))


def error(response: httpx2.Response) -> tuple[int, int]:
    return response.status_code, response.json()["code"]


async def test_a_number_is_found_and_changed_and_people_notice() -> None:
    async with on_the_line() as (sim, webhook):
        new = sim.webhook_url + "?v=2#rc=5"
        async with sim.serve() as url, client(url) as http:
            listed = (await http.get(f"{NUMBERS}.json?PhoneNumber=%2B15005550006")).json()
            (number,) = listed["incoming_phone_numbers"]
            assert (number["sms_url"], listed["next_page_uri"]) == (sim.webhook_url, None)
            path = f"{NUMBERS}/{number['sid']}.json"
            changed = await http.post(path, data={"SmsUrl": new, "SmsMethod": "POST"})
            assert changed.json()["sms_url"] == sim.webhook_url == new
            assert (await http.get(path)).json() == changed.json()
        await sim.text("hello")
        assert webhook.requests[0].target == "/twilio/messages?v=2"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"SmsUrl": "bot.example.com"}, 21502),
        ({"SmsUrl": "https://bot.example.com/#rc=9"}, 21502),
        ({"SmsFallbackUrl": "ftp://bot.example.com/"}, 21502),
        ({"SmsMethod": "PUT"}, 20001),
    ],
)
async def test_a_refused_change_changes_nothing(fields: dict[str, str], code: int) -> None:
    async with on_the_line() as (sim, _):
        before = sim.webhook_url
        async with sim.serve() as url, client(url) as http:
            (sid,) = sim.account.numbers
            given = {"SmsFallbackUrl": "https://a.example/", **fields}
            assert error(await http.post(f"{NUMBERS}/{sid}.json", data=given)) == (400, code)
        assert (sim.webhook_url, sim.fallback_url) == (before, "")


async def test_a_service_decides_for_its_numbers_unless_it_leaves_that_to_them() -> None:
    service = "MG" + "7" * 32

    async with on_the_line(messaging_service_sid=service) as (sim, _):
        own = sim.webhook_url
        async with sim.serve() as url, client(url) as http:
            path = f"/v1/Services/{service}"
            (listed,) = (await http.get("/v1/Services")).json()["services"]
            assert (listed["sid"], listed["inbound_request_url"]) == (service, own)
            pool = (await http.get(f"{path}/PhoneNumbers")).json()["phone_numbers"]
            assert [one["phone_number"] for one in pool] == [sim.number]
            await http.post(path, data={"InboundRequestUrl": "https://a.example/"})
            assert sim.webhook_url == "https://a.example/"
            await http.post(path, data={"UseInboundWebhookOnNumber": "true"})
            assert sim.webhook_url == own
            refused = await http.post(path, data={"InboundRequestUrl": "a.example"})
            assert error(refused) == (400, 21502)


async def test_a_whatsapp_sender_has_webhooks_of_its_own() -> None:
    async with on_the_line() as (sim, webhook):
        sim.account.add_sender(sim.number)
        content: dict[str, Any] = {"webhook": {"callback_url": sim.webhook_url + "?whatsapp"}}
        async with sim.serve() as url, client(url) as http:
            assert error(await http.get("/v2/Channels/Senders")) == (400, 20001)
            listed = (await http.get("/v2/Channels/Senders?Channel=whatsapp")).json()["senders"]
            path = f"/v2/Channels/Senders/{listed[0]['sid']}"
            assert error(await http.post(path, data={"webhook": "x"})) == (415, 20415)
            assert (await http.post(path, json=content)).status_code == 202
            content["webhook"]["callback_url"] = "x"
            assert (await http.post(path, json=content)).status_code == 400
        await sim.text("hello", channel="whatsapp")
        await sim.text("hello")
        targets = [request.target for request in webhook.requests]
        assert targets == ["/twilio/messages?whatsapp", "/twilio/messages"]


async def test_what_went_wrong_is_in_the_monitor() -> None:
    async with on_the_line(Webhook(answers=[(500, "text/plain", b"no")])) as (sim, _):
        failed = await sim.text("hello")
        async with sim.serve() as url, client(url) as http:
            (alert,) = (await http.get("/v1/Alerts?LogLevel=error")).json()["alerts"]
            assert (alert["error_code"], alert["resource_sid"]) == ("11200", failed.sid)
            assert alert["request_url"] == sim.webhook_url
            later = await http.get("/v1/Alerts?StartDate=2999-01-01T00:00:00Z")
            assert later.json()["alerts"] == []


async def test_long_lists_come_in_pages() -> None:
    async with on_the_line() as (sim, _):
        for n in range(4):
            sim.account.add_number(f"+1500555010{n}")
            sim.account.add_service(name=f"{n}")
        async with sim.serve() as url, client(url) as http:
            page = (await http.get(f"{NUMBERS}.json?PageSize=2")).json()
            found = [len(page["incoming_phone_numbers"])]
            while page["next_page_uri"]:
                page = (await http.get(page["next_page_uri"])).json()
                found.append(len(page["incoming_phone_numbers"]))
            assert found == [2, 2, 1]
            page = (await http.get("/v1/Services?PageSize=3")).json()
            page = (await http.get(page["meta"]["next_page_url"])).json()
            assert [one["friendly_name"] for one in page["services"]] == ["3"]
            assert page["meta"]["next_page_url"] is None


@pytest.mark.parametrize(
    "path",
    [
        f"{ACCOUNT}.json", f"{NUMBERS}.json", "/v1/Services", "/v1/Services/MG1",
        "/v1/Alerts", "/v2/Channels/Senders?Channel=whatsapp",
    ],
    # The account is another one in each process that collects tests; their names must not be.
    ids=["account", "numbers", "services", "service", "alerts", "senders"],
)  # fmt: skip
async def test_strangers_see_nothing(path: str) -> None:
    async with on_the_line() as (sim, _), sim.serve() as url, client(url, "f" * 32) as http:
        assert error(await http.get(path)) == (401, 20003)


async def test_what_is_not_there_is_not_found() -> None:
    async with on_the_line() as (sim, _), sim.serve() as url, client(url) as http:
        for path in (f"{NUMBERS}/PN1.json", "/v1/Services/MG1", "/v2/Channels/Senders/XE1"):
            assert error(await http.get(path)) == (404, 20404)
            assert error(await http.post(path)) == (404, 20404)
        assert error(await http.get("/v1/Services/MG1/PhoneNumbers")) == (404, 20404)
        other = await http.get(f"{NUMBERS}.json".replace(CREDENTIALS.account_sid, "AC1"))
        assert error(other) == (404, 20404)


async def test_a_secondary_token_opens_the_api_and_signs_once_it_is_promoted() -> None:
    async with on_the_line(secondary_auth_token=SECOND) as (sim, webhook):
        async with sim.serve() as url:
            for token in (CREDENTIALS.auth_token, SECOND):
                async with client(url, token) as http:
                    assert (await http.get(f"{ACCOUNT}.json")).status_code == 200
            await sim.text("one")
            sim.promote()
            await sim.text("two")
            async with client(url) as http:
                assert error(await http.get(f"{ACCOUNT}.json")) == (401, 20003)
        first, second = webhook.requests
        assert valid(first)
        assert not valid(second)
        assert valid(second, SECOND)


async def test_a_secondary_token_is_made_up_too() -> None:
    with pytest.raises(ConfigurationError):
        simulator(**CREDENTIALS._asdict(), secondary_auth_token="f" * 32)
