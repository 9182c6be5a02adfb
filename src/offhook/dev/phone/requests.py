"""What the page's scripts ask for, checked."""

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
        """Read an order from JSON.

        Raises:
            ConfigurationError: it can't be carried out; the message says why.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
            told = "; ".join(one["msg"].removeprefix("Value error, ") for one in problems)
            raise ConfigurationError(told) from None


class SharedLocation(_PageRequest):
    """A place that is shared; degrees."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    label: Annotated[str, Field(max_length=200)] = ""


class ButtonPress(_PageRequest):
    """A button that is pressed."""

    text: Annotated[str, Field(min_length=1, max_length=20)]
    payload: Annotated[str, Field(max_length=256)] = ""


class TextRequest(_PageRequest):
    """A message that somebody shall send.

    Attributes:
        conversation: whose.
        media: URLs.
    """

    conversation: str
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


class ContactRequest(_PageRequest):
    """Somebody new."""

    name: Annotated[str, Field(max_length=40)] = ""
    number: Annotated[str, AfterValidator(_is_number)]
    channel: Literal["sms", "whatsapp"] = "sms"

    @property
    def address(self) -> str:
        """The number, with its channel's prefix."""
        return self.number if self.channel == "sms" else f"{self.channel}:{self.number}"


class FaultRequest(_PageRequest):
    """A switch for trouble is turned on or off."""

    switch: FaultSwitch
    on: bool


class RetryRequest(_PageRequest):
    """A message that waits for its next attempt is tried now.

    Attributes:
        message: its number in the store.
    """

    message: Annotated[int, Field(ge=1, lt=2**63)]


class ReachabilityRequest(_PageRequest):
    """Somebody turns their phone off, or on again."""

    conversation: str
    reachable: bool
