import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.core.addresses import channel_of
from offhook.core.keys import Kind, conversation, dedupe_key, is_status, lane_of
from offhook.core.messages import (
    Attachment,
    Button,
    InboundMessage,
    Location,
    Referral,
    Reply,
    StatusUpdate,
    Template,
    replies,
)
from offhook.core.texts import split_text
from offhook.errors import InvalidReply, NotRunning
from offhook.settings import Settings
from offhook.worker.message import Message

HX = "HX" + "0" * 32

# The parameters of real captures: an inbound SMS, and a WhatsApp message with everything.
SMS = {
    "ToCountry": "US", "SmsMessageSid": "SM1", "NumMedia": "0", "ToCity": "", "FromZip": "94105",
    "SmsSid": "SM1", "FromState": "CA", "SmsStatus": "received", "FromCity": "SAN FRANCISCO",
    "Body": "hello", "FromCountry": "US", "To": "+15005550006", "NumSegments": "1",
    "MessageSid": "SM1", "AccountSid": "AC1", "From": "+15551230001", "ApiVersion": "2010-04-01",
}  # fmt: skip
WHATSAPP = {
    "MessageSid": "MM1", "AccountSid": "AC1", "From": "whatsapp:+15551230001",
    "To": "whatsapp:+15005550006", "Body": "", "NumMedia": "2", "ProfileName": "Ada",
    "WaId": "15551230001", "MediaUrl0": "https://api.twilio.com/0",
    "MediaContentType0": "image/png",
    "MediaUrl1": "https://api.twilio.com/1", "Latitude": "52.5", "Longitude": "13.4",
    "Label": "Berlin", "ButtonText": "Yes", "ButtonPayload": "yes-1", "Forwarded": "false",
    "FrequentlyForwarded": "true", "OriginalRepliedMessageSid": "SM0",
    "ReferralHeadline": "Shoes", "ReferralCtwaClid": "click",
}  # fmt: skip


def test_an_sms() -> None:
    message = InboundMessage.parse(SMS)
    assert (message.sid, message.from_, message.to) == ("SM1", "+15551230001", "+15005550006")
    assert (message.body, message.channel, message.segments) == ("hello", "sms", 1)
    assert (message.city, message.state, message.zip) == ("SAN FRANCISCO", "CA", "94105")
    assert message.media == ()
    assert (message.button, message.location, message.referral) == (None, None, None)
    assert message.raw["ApiVersion"] == "2010-04-01"


def test_a_whatsapp_message_with_everything() -> None:
    message = InboundMessage.parse(WHATSAPP)
    assert (message.channel, message.profile_name, message.wa_id) == (
        "whatsapp", "Ada", "15551230001",
    )  # fmt: skip
    assert message.media == (
        Attachment("https://api.twilio.com/0", "image/png"),
        Attachment("https://api.twilio.com/1", ""),
    )
    assert message.location == Location(52.5, 13.4, "Berlin")
    assert message.button == Button("Yes", "yes-1")
    assert message.referral == Referral(headline="Shoes", click_id="click")
    assert message.forwarded
    assert message.replied_to_sid == "SM0"
    assert message.user_id == ""


@pytest.mark.parametrize(
    ("fields", "user_id"),
    [
        ({"ExternalUserId": "whatsapp:US.1349"}, "whatsapp:US.1349"),
        ({"ExternalUserId": "WhatsApp:US.1349"}, "whatsapp:US.1349"),
        ({"From": "whatsapp:ID.45665461", "WaId": ""}, "whatsapp:ID.45665461"),
        ({"ExternalUserId": "whatsapp:+15551230002"}, ""),
        ({"ExternalUserId": "US.1349"}, ""),
        ({"From": "+15551230001", "ExternalUserId": "whatsapp:US.1349"}, ""),
    ],
)
def test_a_person_on_whatsapp_may_have_a_user_id(fields: dict[str, str], user_id: str) -> None:
    assert InboundMessage.parse({**WHATSAPP, **fields}).user_id == user_id


# A button's answer, in the order of a capture of 2026-09-25 (anonymised).
INTERACTIVE = {
    "OriginalRepliedMessageSender": "whatsapp:+15005550006", "ExternalUserId": "whatsapp:BR.1349",
    "SmsMessageSid": "SM1", "NumMedia": "0", "ProfileName": "Ada", "MessageType": "interactive",
    "SmsSid": "SM1", "WaId": "5511987654321", "SmsStatus": "received", "Body": "Yes",
    "To": "whatsapp:+15005550006", "ButtonText": "Yes", "ButtonPayload": "yes-1",
    "NumSegments": "1", "ReferralNumMedia": "0", "MessageSid": "SM1", "AccountSid": "AC1",
    "OriginalRepliedMessageSid": "SM0", "ChannelMetadata": '{"type":"whatsapp"}',
    "From": "whatsapp:+5511987654321", "ApiVersion": "2010-04-01",
}  # fmt: skip


def test_an_interactive_message_has_its_button_and_its_user_id() -> None:
    message = InboundMessage.parse(INTERACTIVE)
    assert message.button == Button("Yes", "yes-1")
    assert (message.from_, message.user_id) == ("whatsapp:+5511987654321", "whatsapp:BR.1349")
    assert message.replied_to_sid == "SM0"


def test_the_word_false_is_not_true() -> None:
    assert not InboundMessage.parse({**SMS, "Forwarded": "false"}).forwarded


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"Body": "STOP"}, "STOP"),
        ({"Body": " stop "}, "STOP"),
        ({"Body": "Unsubscribe"}, "STOP"),
        ({"Body": "please stop"}, ""),
        ({"Body": "STOP", "From": "whatsapp:+15551230001"}, ""),
        ({"Body": "STOP", "From": "rcs:+15551230001"}, "STOP"),
        ({"Body": "Cancel", "From": "RCS:+15551230001"}, "STOP"),
        ({"Body": "STOP", "From": "WhatsApp:+15551230001"}, ""),
        ({"Body": "START"}, ""),
        ({"Body": "HELP"}, ""),
        ({"Body": "anything", "OptOutType": "HELP"}, "HELP"),
        ({"Body": "arret", "OptOutType": "STOP"}, "STOP"),
    ],
)
def test_opt_outs(changed: dict[str, str], kind: str) -> None:
    assert InboundMessage.parse({**SMS, **changed}).opt_out == kind


ADVANCED = "MG" + "a" * 32


@pytest.mark.parametrize(
    ("listed", "changed", "kind"),
    [
        ("STOP,ARRET", {"Body": "arret"}, "STOP"),
        ("STOP,ARRET", {"Body": "CANCEL"}, ""),
        ("ARRET", {"Body": "stop"}, "STOP"),  # no account can remove it
        ("", {"Body": "stop"}, "STOP"),
        ("", {"Body": "end"}, ""),
        ("", {"Body": "end", "OptOutType": "STOP"}, "STOP"),
        (ADVANCED, {"Body": "CANCEL"}, "STOP"),
        (ADVANCED, {"Body": "CANCEL", "MessagingServiceSid": ADVANCED}, ""),
        (ADVANCED, {"Body": "STOP", "MessagingServiceSid": ADVANCED}, "STOP"),
        (f"BASTA, {ADVANCED}", {"Body": "Basta"}, "STOP"),
        (f"BASTA, {ADVANCED}", {"Body": "Basta", "MessagingServiceSid": ADVANCED}, ""),
        (f"BASTA, {ADVANCED}", {"Body": "CANCEL"}, ""),
    ],
)
def test_the_words_of_an_opt_out_can_be_set(
    listed: str, changed: dict[str, str], kind: str
) -> None:
    opt_outs = Settings.load(env_file=None, opt_out_words=listed).opt_outs
    assert InboundMessage.parse({**SMS, **changed}, opt_outs=opt_outs).opt_out == kind


@given(st.dictionaries(st.sampled_from(sorted({*SMS, *WHATSAPP})), st.text(max_size=20)))
@settings(derandomize=True, deadline=None)
def test_no_parameters_break_parsing(raw: dict[str, str]) -> None:
    assert InboundMessage.parse(raw).raw == raw
    assert StatusUpdate.parse(raw).raw == raw


def test_a_message_outside_a_handler_cannot_be_replied_to() -> None:
    with pytest.raises(NotRunning):
        asyncio.run(Message.parse(SMS).reply("hello"))


def test_the_text_of_a_person_is_not_in_the_repr_of_raw() -> None:
    assert "ApiVersion" not in repr(Message.parse(SMS))


@pytest.mark.parametrize("wrong", [{"body": ""}, {"body": "  \n"}, {"body": None}, {"body": 5}])
def test_a_reply_without_anything_to_send_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidReply):
        Reply(**wrong)


def test_a_reply_takes_ten_media() -> None:
    Reply(media=["https://example.com/a"] * 10)
    with pytest.raises(InvalidReply, match="11 media"):
        Reply(media=["https://example.com/a"] * 11)
    with pytest.raises(InvalidReply, match="not one str"):
        Reply("picture", media="https://example.com/a")


def test_what_handlers_may_return() -> None:
    assert replies(None) == ()
    assert replies("a") == (Reply("a"),)
    assert replies(["a", Reply("b")]) == (Reply("a"), Reply("b"))
    for wrong in (5, {"a": 1}, b"bytes", [5], "", [""]):
        with pytest.raises(InvalidReply):
            replies(wrong)


def test_a_text_that_fits_stays_as_it_is() -> None:
    assert split_text(" a  b \n") == (" a  b \n",)
    assert split_text("x" * 1600) == ("x" * 1600,)


def test_long_texts_are_cut_at_the_ends_of_words() -> None:
    assert split_text("one two three", 8) == ("one two", "three")
    assert split_text("one two three", 7) == ("one two", "three")
    assert split_text("abcdefghij", 4) == ("abcd", "efgh", "ij")


def test_parts_are_measured_in_utf_16_as_twilio_may_count_them() -> None:
    assert split_text("😀" * 800) == ("😀" * 800,)
    assert split_text("😀" * 900) == ("😀" * 800, "😀" * 100)
    assert split_text("a" + "😀" * 800) == ("a" + "😀" * 799, "😀")


@pytest.mark.parametrize(
    "whole",
    [
        "e\N{COMBINING ACUTE ACCENT}",
        "👩\N{ZERO WIDTH JOINER}👩\N{ZERO WIDTH JOINER}👧",
        "👍🏽",
        "❤\N{VARIATION SELECTOR-16}",
        "1\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}",
        "🇩🇪",
        "नि",
        "\N{HANGUL CHOSEONG HIEUH}\N{HANGUL JUNGSEONG A}\N{HANGUL JONGSEONG NIEUN}",
    ],
)
def test_what_is_seen_as_one_character_is_not_cut(whole: str) -> None:
    size = len(whole.encode("utf-16-le")) // 2
    parts = split_text(whole * 40, 3 * size + size - 1)
    assert set(parts) <= {whole * 3, whole}
    assert "".join(parts) == whole * 40


def test_a_character_that_is_longer_than_a_message_is_cut_all_the_same() -> None:
    zalgo = "a" + "\N{COMBINING ACUTE ACCENT}" * 50
    assert "".join(split_text(zalgo, 8)) == zalgo
    assert "".join(split_text("🇩🇪" * 20, 2)) == "🇩🇪" * 20


@given(
    st.text(alphabet="ab \n😀🇩🏽é\u0301\u200d", max_size=200),
    st.integers(2, 20),
)
@settings(derandomize=True, deadline=None)
def test_cutting_loses_nothing_but_white_space(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    if len(text.encode("utf-16-le")) // 2 > limit:
        assert all(0 < len(part.encode("utf-16-le")) // 2 <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_two_halves_of_a_character_are_joined() -> None:
    # As json.loads gives them, of a program that escapes each half by itself.
    reply = Reply("\ud83d\ude00!", content_sid=HX, content_variables={"1": "\ud83d\ude00"})
    assert (reply.body, reply.content_variables) == ("😀!", {"1": "😀"})
    assert replies("\ud83d\ude00") == (Reply("😀"),)


@given(st.lists(st.sampled_from(["a", "é", "😀", "\ud83d", "\ude00", "\0"]), min_size=1))
@settings(derandomize=True, deadline=None)
def test_half_a_character_is_replaced(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert Reply(text).body == text.encode("utf-16-le", "surrogatepass").decode(
        "utf-16-le", "replace"
    )
    Reply(text).body.encode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": "x", "to": b"+15551230001"},
        {"body": "x", "to": "+1555\ud83d"},
        {"media": [None]},
        {"media": 5},
        {"content_sid": HX, "content_variables": {"1": 5}},
        {"content_sid": HX, "content_variables": {5: "1"}},
        {"content_sid": HX, "content_variables": ["1"]},
        {"content_sid": 5},
        {"content_sid": "HX123"},
        {"fallback": Template(HX)},
        {"body": "x", "fallback": HX},
        {"content_sid": HX, "fallback": Template(HX)},
    ],
)
def test_what_cannot_be_stored_is_no_reply(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidReply):
        Reply(**wrong)


@pytest.mark.parametrize(
    ("sid", "variables", "why"),
    [
        ("HX123", {}, "HX and 32 hexadecimal digits, not 'HX123'"),
        (f"MM{'0' * 32}", {}, "HX and 32"),
        (None, {}, "HX and 32"),
        (HX, {"1": 5}, "variables are str, not int"),
        (HX, {5: "x"}, "variables are str, not int"),
        (HX, ["x"], "variables is a dict, not list"),
    ],
)
def test_a_template_is_one_of_twilios_with_texts_for_variables(
    sid: Any, variables: Any, why: str
) -> None:
    with pytest.raises(InvalidReply, match=why):
        Template(sid, variables)


@pytest.mark.parametrize(
    "media",
    [
        "/local/file.jpg", "file.jpg", "file:///local/file.jpg", "//example.com/cat.jpg",
        "ftp://example.com/cat.jpg", "https:///cat.jpg", "https://", "data:image/png;base64,AA",
        "https://example.com/the cat.jpg", "https://example.com:x/cat.jpg", "https://[::1/cat.jpg",
        "", " https://example.com/cat.jpg", "https://example.com/\ud83d",
    ],
)  # fmt: skip
def test_media_are_urls_that_twilio_can_fetch(media: str) -> None:
    with pytest.raises(InvalidReply, match="https://"):
        Reply("a cat", media=[media])


def test_a_url_beyond_ascii_is_a_url() -> None:
    Reply(media=["HTTPS://example.com/k\u00e4tzchen.jpg?a=1#b", "http://127.0.0.1:8000/a"])


@pytest.mark.parametrize(
    ("address", "channel"),
    [
        ("+1555", "sms"),
        ("whatsapp:+1555", "whatsapp"),
        ("RCS:+1555", "rcs"),
        ("messenger:1", "messenger"),
        ("", "sms"),
    ],
)
def test_channels(address: str, channel: str) -> None:
    assert channel_of(address) == channel


def test_a_message_is_the_same_whatever_else_its_webhook_says() -> None:
    again = {**SMS, "Body": "other", "ErrorCode": "11200", "ErrorUrl": "https://example.com"}
    assert dedupe_key(Kind.MESSAGE, SMS) == dedupe_key(Kind.MESSAGE, again)
    assert dedupe_key(Kind.MESSAGE, SMS) != dedupe_key(Kind.MESSAGE, {**SMS, "AccountSid": "AC2"})
    assert dedupe_key(Kind.MESSAGE, SMS) != dedupe_key(Kind.STATUS, SMS)
    assert len(dedupe_key(Kind.MESSAGE, SMS)) == 16


def test_each_status_of_a_message_is_a_webhook_of_its_own() -> None:
    keys = {
        dedupe_key(Kind.STATUS, {"AccountSid": "AC1", "MessageSid": "SM1", **more})
        for more in (
            {"MessageStatus": "sent"},
            {"MessageStatus": "delivered"},
            {"MessageStatus": "failed"},
            {"MessageStatus": "failed", "ErrorCode": "30003"},
        )
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"SmsStatus": "received"}, False),
        ({}, False),
        ({"SmsStatus": ""}, False),
        ({"MessageStatus": "sent", "SmsStatus": "sent"}, True),
        ({"SmsStatus": "delivered"}, True),
    ],
)
def test_a_status_is_one_whatever_it_was_called_for(said: dict[str, str], *, status: bool) -> None:
    assert is_status(said) is status


def test_lanes() -> None:
    there = lane_of(Kind.MESSAGE, SMS)
    assert there == conversation("AC1", ours="+15005550006", theirs="+15551230001")
    assert there != lane_of(Kind.MESSAGE, {**SMS, "From": "+15551230002"})
    assert lane_of(Kind.STATUS, SMS) != there
    rcs = {**SMS, "From": "rcs:+15551230001", "To": "rcs:brand_AgEnt"}
    assert lane_of(Kind.MESSAGE, rcs) == lane_of(
        Kind.MESSAGE, {**rcs, "From": "RCS:+15551230001", "To": "Rcs:brand_AgEnt"}
    )
