"""WhatsApp's customer service window: how long a person can be written to freely."""

from typing import Final

WINDOW: Final = 24 * 3600.0
"""Seconds from a person's last message in which WhatsApp delivers texts; then templates alone.
https://www.twilio.com/docs/whatsapp/key-concepts#the-24-hour-window"""

CLOSED: Final = frozenset({"63016"})
"""Twilio's codes for a text that was sent outside of the window: in a status callback, or in the
answer of the REST API. https://www.twilio.com/docs/api/errors/63016 stands for WhatsApp's own 470
(https://www.twilio.com/docs/whatsapp/tutorial/error-codes), which Meta's cloud calls 131047
("re-engagement message"). Others (63013, 63032, 63049) are about the content or the person: a
template would meet them as well."""

NEWEST: Final = 1_000
"""Messages of a person, the newest, among which the last one to a number is looked for."""
