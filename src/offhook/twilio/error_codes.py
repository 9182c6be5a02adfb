"""Twilio's error codes: what they mean for operators, and what to do."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# Each code has a page: https://www.twilio.com/docs/api/errors/<code>. These are the ones that a
# reply can get; for others, Twilio's own message is shown.
MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "14103": "The message has no text or more than 1,600 characters. Check its length.",
        "14107": "More than 30 replies went to this number in 30 seconds: two bots may be talking.",
        "20003": "Twilio rejected these credentials. Check TWILIO_ACCOUNT_SID and "
        "TWILIO_AUTH_TOKEN, or TWILIO_API_KEY and TWILIO_API_KEY_SECRET; of another account, what "
        "@app.credentials returns.",
        "20404": "Twilio does not know this account. Check TWILIO_ACCOUNT_SID and "
        "OFFHOOK_TWILIO_API.",
        "20429": "Twilio limits the rate of requests; the message was not sent.",
        "21211": "The number written to is not valid. It must begin with + and the country's code.",
        "21212": "The number to send from is not valid. Check OFFHOOK_SENDER.",
        "21265": "The number written to is a short code, to which Twilio can't send.",
        "21408": "The account may not send to this country. Allow it in the Console "
        "under Messaging, Settings, Geo permissions.",
        "21502": "Twilio does not accept this URL for a webhook. Check OFFHOOK_PUBLIC_URL.",
        "21602": "The message has neither a text nor media.",
        "21603": "There is no number to send from. Set OFFHOOK_SENDER.",
        "21604": "There is no number to send to.",
        "21606": "The number to send from cannot send this, or is not the account's. Check "
        "OFFHOOK_SENDER.",
        "21608": "A trial account sends to verified numbers only. Verify this one in the Console, "
        "or upgrade the account.",
        "21609": "Twilio does not accept the status callback's URL. Check OFFHOOK_PUBLIC_URL.",
        "21610": "This person has opted out with STOP. Nothing can be sent until they write START.",
        "21611": "This number's queue holds more than it can send in 10 hours. Send less, or "
        "from a Messaging Service with more numbers.",
        "21612": "Twilio cannot reach this number from the number used. Send from another one.",
        "21614": "The number written to cannot receive text messages.",
        "21617": "The text has more than 1,600 characters. Send it in parts.",
        "21619": "The message has neither a text, nor media, nor a template that Twilio knows.",
        "21620": "Twilio cannot use a media URL. It must be public and start with https:// or http://.",
        "21623": "The message has more than 10 media.",
        "21656": "The content variables do not fit the content template.",
        "21658": "A parameter of the message is too long.",
        "21659": "The number to send from is not one of this account's in Twilio. Check "
        "OFFHOOK_SENDER.",
        "21660": "The number to send from belongs to another account. Check TWILIO_ACCOUNT_SID.",
        "21703": "The Messaging Service has no number that can send this. Add one to its sender "
        "pool.",
        "30001": "The queue of this number is full. Send less, or from more numbers.",
        "30003": "The phone cannot be reached: it is off, or abroad.",
        "30004": "The person's carrier or phone blocks the message.",
        "30005": "The number is unknown to its carrier.",
        "30006": "The number is a landline, or its carrier takes no messages.",
        "30007": "The carrier took the message for spam. Change the text, or register the sender.",
        "30008": "The carrier did not deliver the message and gave no reason.",
        "30034": "The number is not registered for A2P 10DLC, which US carriers require.",
        "30036": "The message's validity period expired before it was sent.",
        "63007": "Twilio knows no channel with this sender. Check OFFHOOK_SENDER, or join the "
        "sandbox.",
        "63015": "The WhatsApp sandbox sends only to numbers that have joined it.",
        "63016": "The person last wrote more than 24 hours ago: WhatsApp accepts only approved "
        "templates now. Give the reply a fallback.",
        "63017": "WhatsApp limits the rate of messages from this sender. Send more "
        "slowly.",
        "63018": "Messages are sent faster than this sender may send. Send more slowly.",
        "63038": "The account has sent as many messages within 24 hours as Twilio allows it. Ask "
        "Twilio's support for more, or send less.",
        "63049": "Meta did not deliver the message: it limits marketing messages per person. Send "
        "fewer of them, or a template of another category.",
    }
)  # fmt: skip

DAILY_LIMITS: Final = frozenset({"63038"})
"""Limits on what is sent within 24 hours, which roll: there is room again at any time within a day.
https://www.twilio.com/docs/api/errors/63038"""

# Alerts of Twilio's monitor about failed webhooks; sends have the codes above.
WEBHOOK_MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "11100": "The webhook's URL at Twilio is invalid. `offhook connect` shows it.",
        "11200": "The webhook was answered 4xx or 5xx, or not in time. A 403 is a signature that "
        "did not match: offhook's log says for which URL it would have.",
        "11205": "Twilio could not connect. Is the machine up, and its port open to the internet?",
        "11206": "The response was not HTTP. Does OFFHOOK_PUBLIC_URL lead to offhook?",
        "11210": "The host name can't be resolved. Check OFFHOOK_PUBLIC_URL and its DNS entry.",
        "11215": "There were too many redirects. Use the final URL: a redirect "
        "loses the message.",
        "11217": "The webhook was answered 4xx or 5xx. A 403 is a signature that did not match: "
        "offhook's log says for which URL it would have.",
        "11220": "The TLS handshake failed. Does the proxy support TLS 1.2 or newer?",
        "11235": "The certificate does not match the host name in OFFHOOK_PUBLIC_URL.",
        "11236": "The certificate has expired. Renew it.",
        "11237": "The certificate chain is incomplete: have the proxy send the intermediate "
        "certificates too (fullchain.pem).",
        "11321": "The webhook's URL at Twilio is misconfigured. `offhook connect` shows it.",
        "11750": "The response had more than 64 kB. Does OFFHOOK_PUBLIC_URL lead to offhook?",
        "12100": "The response was not XML. Does OFFHOOK_PUBLIC_URL lead to offhook?",
        "12200": "The response was not TwiML. Does OFFHOOK_PUBLIC_URL lead to offhook?",
        "12300": "The content type was wrong. Does OFFHOOK_PUBLIC_URL lead to offhook?",
        "15003": "A status callback was answered 4xx or 5xx.",
    }
)  # fmt: skip


# Twilio's messages quote the number they are about, and errors are logged.
_NUMBER: Final = re.compile(r"\+?\d{5,}(?=\d{2})")


def meaning(code: str, message: str) -> str:
    """Return what an error means and what to do, or else Twilio's own message.

    Phone numbers in Twilio's message are masked but for their last two digits.
    """
    return MEANINGS.get(code) or _NUMBER.sub("***", message)


def known_code(code: str) -> str:
    """Return a code that has a meaning here; `other` for any other."""
    return code if code in MEANINGS else "other"


def meaning_of(code: str) -> str:
    """Return what a code means and what to do, or else a link to Twilio's page about it."""
    where = f"See https://www.twilio.com/docs/api/errors/{code}." if code.isdecimal() else ""
    return MEANINGS.get(code, where)
