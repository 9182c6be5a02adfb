"""A captured request, cut anew, names what it named, or is refused.

The invariant: the signed text of a form is its names and values, sorted, one after the other. Of
all forms that have the text of a genuine one, none is accepted whose key (account, SID, status,
error code), sender or recipient differs from the genuine one's.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.core.forms import Form, decode_form
from offhook.core.identity import user_id_of
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind, dedupe_key, lane_of
from offhook.core.lifecycle import STATUSES
from offhook.core.requests import Request
from offhook.core.responses import Fault
from offhook.core.signature import sign
from offhook.ingress.credentials import Credentials
from offhook.ingress.validation import Genuine, Rejection, Validator
from offhook.settings import Settings
from tests.core.forms import (
    ACCOUNT,
    BOT,
    EVERYTHING,
    FORGED,
    PERSON,
    PIECES,
    QUOTED,
    SID,
    VICTIM,
    Fields,
    failed,
    is_sorted,
    mms,
    nudged,
    of_channel,
    rcs,
    recuts,
    sms,
    status,
    whatsapp,
    written,
)

BASE, TOKEN = "https://bot.example.com", "token"
PATHS = {Kind.MESSAGE: "/twilio/messages", Kind.STATUS: "/twilio/status"}
SETTINGS = Settings.load(env_file=None, account_sid=ACCOUNT, auth_token=TOKEN)
VALIDATOR = Validator(SETTINGS, Credentials(SETTINGS, None, print))

Pairs = Sequence[tuple[str, str]]


def posted(
    kind: Kind, fields: Pairs, *, signed: Pairs | None = None, query: str = ""
) -> Inbound | Rejection:
    """Return what becomes of a form, signed as another."""
    url = f"{BASE}{PATHS[kind]}"
    request = Request(
        kind=kind,
        method="POST",
        base=BASE,
        path=PATHS[kind],
        query=query.encode(),
        content_type="application/x-www-form-urlencoded",
        signature=sign(
            url=f"{url}?{query}" if query else url,
            params=fields if signed is None else signed,
            auth_token=TOKEN,
        ),
        body=urlencode(fields).encode(),
        started=0.0,
    )
    read = VALIDATOR.at_once(request)
    assert read is not None
    return Inbound.of(read.webhook) if isinstance(read, Genuine) else read


def named(accepted: Inbound) -> tuple[object, ...]:
    """Return what a webhook names: whether it is new, whose it is, where its answer goes."""
    return (
        accepted.kind, accepted.key, accepted.account_sid, accepted.sid, accepted.lane,
        accepted.sender, accepted.recipient,
    )  # fmt: skip


def may_be_theirs(accepted: Inbound, genuine: Fields) -> bool:
    """Return whether the user id is the sender's; it may have been hidden, but is no other."""
    found = user_id_of(decode_form(accepted.form).first)
    return accepted.kind is Kind.STATUS or found in {"", user_id_of(genuine)}


def is_recut(answer: Inbound | Rejection) -> bool:
    return isinstance(answer, Rejection) and answer.reason is Fault.RECUT_FIELDS


def without(fields: Fields, name: str) -> Fields:
    return {key: value for key, value in fields.items() if key != name}


# What Twilio sends

GENUINE = {
    "SMS": (Kind.MESSAGE, sms()),
    "SMS without text": (Kind.MESSAGE, sms("")),
    "SMS of a short code": (Kind.MESSAGE, sms(From="12345")),
    "SMS of a business": (Kind.MESSAGE, sms(From="GoTo Bank")),
    "SMS to a short code": (Kind.MESSAGE, sms(To="12345", Body="To12345")),
    "MMS": (Kind.MESSAGE, mms()),
    "WhatsApp": (Kind.MESSAGE, whatsapp()),
    "WhatsApp with all that is documented": (Kind.MESSAGE, whatsapp(**EVERYTHING)),
    "WhatsApp by user name": (Kind.MESSAGE, whatsapp(From="whatsapp:ID.4566546130240000")),
    "RCS": (Kind.MESSAGE, rcs()),
    "Messenger": (Kind.MESSAGE, sms(From="messenger:4242", To="messenger:1717")),
    "fallback": (Kind.MESSAGE, sms(ErrorCode="11200", ErrorUrl=f"{BASE}/twilio/messages")),
    "status": (Kind.STATUS, status()),
    "status whose SmsSid differs": (Kind.STATUS, status(SmsSid=FORGED)),
    "status of an alphanumeric sender": (Kind.STATUS, status(From="ToysRUs")),
    "failure": (Kind.STATUS, failed()),
    "failure with a word": (Kind.STATUS, failed(ErrorCode="InvalidSandboxRequest")),
    "failure without a code": (Kind.STATUS, failed(ErrorCode="")),
    "failure before a sender was chosen": (
        Kind.STATUS,
        failed(From="", ErrorMessage="The 'From' number +14155550100 is not in your account"),
    ),
    "status of a channel": (Kind.STATUS, of_channel()),
    "status that quotes": (
        Kind.STATUS,
        of_channel(StructuredMessage=f'{{"body":"MessageSid{FORGED}From{VICTIM}To{VICTIM}ToX"}}'),
    ),
} | {f"status {said}": (Kind.STATUS, status(said)) for said in sorted(STATUSES)}


@pytest.mark.parametrize(("kind", "fields"), GENUINE.values(), ids=GENUINE.keys())
def test_what_twilio_sends_is_accepted(kind: Kind, fields: Fields) -> None:
    accepted = posted(kind, list(fields.items()))
    assert isinstance(accepted, Inbound), accepted
    assert accepted.sid == fields["MessageSid"]
    assert (accepted.sender, accepted.recipient) == (fields["From"], fields["To"])


def test_a_status_may_have_no_sender() -> None:
    told = failed(ErrorMessage="Mismatch between the 'From' number and the account")
    fields = [pair for pair in told.items() if pair[0] != "From"]
    assert isinstance(posted(Kind.STATUS, fields), Inbound)


def test_the_longest_text_is_judged_at_once() -> None:
    began = time.process_time()
    assert isinstance(posted(Kind.MESSAGE, list(sms("From+1" * 10_000).items())), Inbound)
    assert time.process_time() - began < 1.0


TEXTS = (
    "Body", "ButtonText", "ButtonPayload", "ProfileName", "Address", "ReferralBody",
    "ReferralHeadline",
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from([piece for piece in PIECES if piece not in {"Label", "InteractiveData"}]),
    st.text(max_size=5),
)
WRITTEN = st.lists(WORDS, max_size=8).map("".join)


@given(
    texts=st.dictionaries(st.sampled_from(TEXTS), WRITTEN),
    more=st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True),
        st.from_regex(r"[a-z0-9 /]{0,20}", fullmatch=True),
    ),
    make=st.sampled_from([sms, mms, whatsapp, rcs]),
)
@settings(max_examples=60, deadline=None)
def test_a_person_may_write_anything_and_twilio_may_add_parameters(
    texts: Mapping[str, str], more: Mapping[str, str], make: Callable[[], Fields]
) -> None:
    genuine = make()
    fields = {**{name: value for name, value in more.items() if name not in genuine}, **genuine}
    accepted = posted(Kind.MESSAGE, list({**fields, **texts}.items()))
    assert isinstance(accepted, Inbound), accepted


# What somebody makes of it

FORGERY = f"From{VICTIM}MessageSid{FORGED}SmsMessageSid{FORGED}SmsSid{FORGED}To{BOT}ToX"
ATTACKS: dict[str, tuple[Kind, Fields, Pairs]] = {
    "a text that is another message": (
        Kind.MESSAGE,
        {"AccountSid": ACCOUNT, "Body": "hi" + FORGERY, "From": PERSON, "MessageSid": SID,
         "SmsMessageSid": SID, "SmsSid": SID, "To": BOT},
        [("AccountSid", ACCOUNT), ("Body", "hi"), ("From", VICTIM), ("MessageSid", FORGED),
         ("SmsMessageSid", FORGED), ("SmsSid", FORGED), ("To", BOT),
         ("ToX", f"From{PERSON}MessageSid{SID}SmsMessageSid{SID}SmsSid{SID}To{BOT}")],
    ),
    "a text that is another sender": (
        Kind.MESSAGE,
        sms(f"hiFrom{VICTIM}FromX"),
        [("AccountSid", ACCOUNT), ("ApiVersion", "2010-04-01"), ("Body", "hi"), ("From", VICTIM),
         ("FromX", f"From{PERSON}FromCityFromCountryUSFromStateCAFromZip94105"),
         ("MessageSid", SID), ("NumMedia", "0"), ("NumSegments", "1"), ("SmsMessageSid", SID),
         ("SmsSid", SID), ("SmsStatus", "received"), ("To", BOT), ("ToCity", "SAN FRANCISCO"),
         ("ToCountry", "US"), ("ToState", "CA"), ("ToZip", "94105")],
    ),
    "a sender given twice": (
        Kind.MESSAGE,
        sms(f"hiFrom{VICTIM}"),
        [("From", VICTIM), *(dict(sms("hi")) | {"From": PERSON}).items()],
    ),
    "a text that is another user id": (
        Kind.MESSAGE,
        whatsapp("hiExternalUserIdwhatsapp:US.666FlowData"),
        [*[(name, value) for name, value in whatsapp("hi").items()
           if name not in {"ChannelMetadata", "ExternalUserId"}],
         ("ExternalUserId", "whatsapp:US.666"),
         ("FlowData", "ChannelMetadata" + whatsapp()["ChannelMetadata"]
          + "ExternalUserId" + whatsapp()["ExternalUserId"])],
    ),
    "a user id given twice": (
        Kind.MESSAGE,
        without(whatsapp("hiExternalUserIdwhatsapp:US.1"), "ChannelMetadata"),
        [("ExternalUserId", "whatsapp:US.1"),
         *without(whatsapp("hi"), "ChannelMetadata").items()],
    ),
    "a quoted message": (
        Kind.MESSAGE,
        whatsapp(OriginalRepliedMessageSid=QUOTED),
        [*[(name, value) for name, value in whatsapp().items()
           if name not in {"MessageSid", "MessageType", "NumMedia", "NumSegments"}],
         ("MessageSi", f"d{SID}MessageTypetextNumMedia0NumSegments1OriginalReplied"),
         ("MessageSid", QUOTED)],
    ),
    "a recipient that has swallowed a name": (
        Kind.MESSAGE,
        sms(ToCity=""),
        [*[pair for pair in sms().items() if pair[0] not in {"To", "ToCity"}],
         ("To", f"{BOT}ToCity")],
    ),
    "a code that is not there": (
        Kind.STATUS,
        failed(),
        [*[pair for pair in failed().items() if pair[0] != "ErrorCode"], ("ErrorCod", "e30003")],
    ),
    "a code that has swallowed a name": (
        Kind.STATUS,
        failed(ErrorCode="InvalidSandboxRequest"),
        [*status("failed").items(),
         ("ErrorCode", "InvalidSandboxRequestErrorMessage")],
    ),
    "a sender that another field has swallowed": (
        Kind.STATUS,
        failed(From="ToysRUs"),
        [*[pair for pair in failed().items() if pair[0] not in {"From", "ErrorMessage"}],
         ("ErrorMessage", "FromToysRUs")],
    ),
    "a nameless field": (Kind.MESSAGE, sms(), [("", Form.of(sms().items()).signed_text())]),
    "a field without anything": (Kind.MESSAGE, sms(), [*sms().items(), ("", "")]),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "genuine", "forged"), ATTACKS.values(), ids=ATTACKS.keys())
def test_a_form_cut_anew_is_refused(kind: Kind, genuine: Fields, forged: Pairs) -> None:
    assert isinstance(posted(kind, list(genuine.items())), Inbound)
    assert Form.of(forged).signed_text() == Form.of(genuine.items()).signed_text()
    answer = posted(kind, forged, signed=list(genuine.items()))
    assert is_recut(answer), answer


@pytest.mark.parametrize(
    "wrong",
    [
        {"MessageStatus": "un"}, {"MessageStatus": "sentRawDlrDoneDate"}, {"SmsStatus": "READ"},
        {"MessageSid": "SM1"}, {"MessageSid": SID + "0"}, {"SmsSid": "x"},
        {"AccountSid": ACCOUNT + "ApiVersion2010-04-01"}, {"AccountSid": "AC1"},
        {"From": f"{BOT}MessageSid"}, {"To": f"{PERSON}T"}, {"To": "whatsapp:+1555To"},
        {"To": "whatsapp:"}, {"ErrorCode": "30003From"}, {"ErrorCode": "invalid"},
    ],
)  # fmt: skip
def test_what_has_no_shape_of_twilios_is_refused(wrong: Fields) -> None:
    assert is_recut(posted(Kind.STATUS, list((status() | wrong).items())))


@pytest.mark.parametrize("missing", ["SmsMessageSid", "SmsSid", "MessageSid"])
def test_a_message_has_its_sid_under_three_names(missing: str) -> None:
    assert is_recut(posted(Kind.MESSAGE, list((sms() | {missing: FORGED}).items())))
    fewer = [pair for pair in sms().items() if pair[0] != missing]
    assert is_recut(posted(Kind.MESSAGE, fewer))


def test_a_part_of_the_query_is_no_part_of_the_form() -> None:
    reference, genuine = "12.34abcd", Form.of(status().items()).signed_text()
    for kept in range(5):
        first, rest = reference[:kept], reference[kept:]
        forged = list(({f"{rest}AccountSid": ACCOUNT} | status()).items())
        forged = [pair for pair in forged if pair[0] != "AccountSid"]
        assert reference + genuine == first + Form.of(forged).signed_text()
        answer = posted(Kind.STATUS, forged, query=f"send={first}")
        assert isinstance(answer, Rejection), answer


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_accepted_names_what_the_genuine_one_names(seed: int) -> None:
    accepted = search(random.Random(seed), rounds=25)
    assert accepted > 0, "the search must come near to what is genuine"


MAKERS: Sequence[Callable[[random.Random], tuple[Kind, Fields]]] = (
    lambda dice: (Kind.MESSAGE, sms(written(dice))),
    lambda dice: (Kind.MESSAGE, mms(written(dice))),
    lambda dice: (Kind.MESSAGE, whatsapp(written(dice), OriginalRepliedMessageSid=QUOTED)),
    lambda dice: (Kind.MESSAGE, whatsapp(written(dice), ProfileName=written(dice))),
    lambda dice: (
        Kind.MESSAGE,
        whatsapp(Label=written(dice), Address=written(dice), Latitude="1.5", Longitude="2.5"),
    ),
    lambda dice: (
        Kind.MESSAGE, whatsapp(ButtonText=written(dice), InteractiveData=written(dice))
    ),
    lambda dice: (Kind.MESSAGE, whatsapp(written(dice), **EVERYTHING)),
    lambda dice: (Kind.STATUS, dice.choice((status, failed, of_channel))()),
    lambda _: (Kind.STATUS, failed(ErrorCode="InvalidSandboxRequest")),
    lambda dice: (Kind.STATUS, of_channel(StructuredMessage=written(dice))),
)  # fmt: skip

WANTED = {
    Kind.MESSAGE: (
        "AccountSid", "ApiVersion", "Body", "ExternalUserId", "FlowData", "From", "Label",
        "MessageSid", "ProfileName", "SmsMessageSid", "SmsSid", "SmsStatus", "To",
    ),
    Kind.STATUS: (
        "AccountSid", "ApiVersion", "ErrorCode", "From", "MessageSid", "MessageStatus", "SmsSid",
        "SmsStatus", "StructuredMessage", "To",
    ),
}  # fmt: skip


def search(dice: random.Random, rounds: int) -> int:
    """Cut forms anew in many ways; return how many were accepted, all as what they were."""
    accepted = 0
    for _ in range(rounds):
        kind, genuine = dice.choice(MAKERS)(dice)
        original = sorted(genuine.items())
        text = Form.of(original).signed_text()
        expected = _said(kind, genuine)
        cuts = [nudged(original, dice) for _ in range(40)]
        for forged in (*cuts, *recuts(text, WANTED[kind], dice)):
            if forged == original or not is_sorted(forged):
                continue
            assert Form.of(forged).signed_text() == text
            shown = dice.sample(forged, len(forged))  # whoever sends it chooses the order
            answer = posted(kind, shown, signed=original)
            if isinstance(answer, Inbound):
                accepted += 1
                assert named(answer) == expected, (original, forged)
                assert may_be_theirs(answer, genuine), (original, forged)
    return accepted


def _said(kind: Kind, genuine: Fields) -> tuple[object, ...]:
    return (
        kind, dedupe_key(kind, genuine), genuine["AccountSid"], genuine["MessageSid"],
        lane_of(kind, genuine), genuine["From"], genuine["To"],
    )  # fmt: skip
