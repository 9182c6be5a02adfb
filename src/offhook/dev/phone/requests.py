"""The validated bodies of the page's requests."""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from offhook.core.messages import MAX_MEDIA, Button, Location
from offhook.core.texts import MAX_BODY
from offhook.dev.phone.switches import FaultSwitch
from offhook.errors import ConfigurationError

_ADDRESS: Final = re.compile(r"(whatsapp:)?\+[1-9][0-9]{6,14}")


def _is_address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError("a number looks like +15551230001")
    return text


def _is_number(text: str) -> str:
    return _is_address(re.sub(r"[\s().-]", "", text))


class _PageRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Parse a request's JSON.

        Raises:
            ConfigurationError: it is invalid; the message says why.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
            text = "; ".join(one["msg"].removeprefix("Value error, ") for one in problems)
            raise ConfigurationError(text) from None


class SharedLocation(_PageRequest):
    """A shared location; in degrees."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    label: Annotated[str, Field(max_length=200)] = ""


class ButtonPress(_PageRequest):
    """A pressed button."""

    text: Annotated[str, Field(min_length=1, max_length=20)]
    payload: Annotated[str, Field(max_length=256)] = ""


class TextRequest(_PageRequest):
    """Send a message from a contact.

    Attributes:
        conversation: the id of the contact's conversation.
        media: URLs.
        hides_number: on WhatsApp, whether Twilio gets the person's user id alone.
    """

    conversation: str
    hides_number: bool = False
    body: Annotated[str, Field(max_length=MAX_BODY)] = ""
    media: Annotated[tuple[str, ...], Field(max_length=MAX_MEDIA)] = ()
    button: ButtonPress | None = None
    location: SharedLocation | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.body.strip() or self.media or self.button or self.location):
            raise ValueError("enter a text, or attach something")
        return self

    def content(self) -> dict[str, Any]:
        """Return the message as `Simulator.text` takes it."""
        place, press = self.location, self.button
        return {
            "body": self.body or (press.text if press else ""),
            "media": self.media,
            "button": Button(press.text, press.payload or press.text) if press else None,
            "location": (Location(place.latitude, place.longitude, place.label) if place else None),
        }


class RepeatRequest(_PageRequest):
    """Send the content of a message again, as a new message.

    Attributes:
        bubble: the id of the message.
    """

    bubble: str


class ContactRequest(_PageRequest):
    """Add a contact."""

    name: Annotated[str, Field(max_length=40)] = ""
    number: Annotated[str, AfterValidator(_is_number)]
    channel: Literal["sms", "whatsapp"] = "sms"

    @property
    def address(self) -> str:
        """The number, with its channel's prefix."""
        return self.number if self.channel == "sms" else f"{self.channel}:{self.number}"


class FaultRequest(_PageRequest):
    """Switch a fault on or off."""

    switch: FaultSwitch
    on: bool


class RetryRequest(_PageRequest):
    """Retry a waiting message now.

    Attributes:
        message: its id in the store.
    """

    message: Annotated[int, Field(ge=1, lt=2**63)]


class ReachabilityRequest(_PageRequest):
    """Switch a contact's phone off or on."""

    conversation: str
    reachable: bool
