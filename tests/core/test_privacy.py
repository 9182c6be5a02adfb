from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.core.forms import decode_form
from offhook.core.keys import Kind, dedupe_key, lane_of
from offhook.core.privacy import essentials, spellings

MESSAGE = {
    "MessageSid": "SM1", "SmsSid": "SM1", "AccountSid": "AC1", "From": "whatsapp:+15551230001",
    "To": "whatsapp:+15005550006", "NumMedia": "1", "ExternalUserId": "whatsapp:US.1349",
    "WaId": "15551230001",
}  # fmt: skip
PRIVATE = {
    "Body": "my secret & more=less", "ProfileName": "Ann", "MediaUrl0": "https://x/?From=1",
    "Latitude": "1.0", "Address": "Home", "FromCity": "Berlin", "ButtonText": "Yes",
}  # fmt: skip


def test_what_names_a_message_stays_as_it_was_and_nothing_else_does() -> None:
    form = urlencode({**PRIVATE, **MESSAGE}).encode()
    assert essentials(form) == urlencode(MESSAGE).encode()
    assert essentials(b"") == b""
    assert essentials(b"Body&&Body=1&from=+1") == b""


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.sampled_from(Kind))
def test_a_reduced_webhook_is_the_same_webhook(more: dict[str, str], kind: Kind) -> None:
    raw = {**more, **MESSAGE, "MessageStatus": "sent", "ErrorCode": "30003"}
    form = urlencode(raw, errors="surrogatepass").encode()
    reduced = dict(decode_form(essentials(form)).fields)
    assert dedupe_key(kind, reduced) == dedupe_key(kind, raw)
    assert lane_of(kind, reduced) == lane_of(kind, raw)


@pytest.mark.parametrize(
    "written",
    ["+15551230001", "WhatsApp:+15551230001", " +1 (555) 123-0001 ", "rcs:+15551230001"],
)
def test_a_number_is_one_person_in_every_channel(written: str) -> None:
    today, formerly = spellings(written)[:3], spellings(written)[3:]
    assert today == ("+15551230001", "whatsapp:+15551230001", "rcs:+15551230001")
    assert {"WHATSAPP:+15551230001", "RCS:+15551230001"} <= set(formerly)


@pytest.mark.parametrize("written", ["messenger:12345", "whatsapp:BR.99", "ann@example.com", ""])
def test_what_is_no_number_stands_for_itself(written: str) -> None:
    assert spellings(written) == (written,)


def test_a_prefix_is_the_same_in_any_case() -> None:
    assert spellings("Messenger:AbC") == ("messenger:AbC", "Messenger:AbC")
