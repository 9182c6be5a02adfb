"""Import the app that `bot:app` names."""

import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Self

from offhook.app import Offhook
from offhook.errors import AppNotFound, OffhookError


@dataclass(frozen=True, slots=True)
class AppName:
    """The parts of `bot:app`.

    Attributes:
        text: as it was written.
        directory: to import the module from.
        hint: the usual spelling; empty if `text` has it.
    """

    text: str
    directory: Path
    module: str
    attribute: str
    hint: str = ""

    @classmethod
    def parse(cls, text: str, directory: Path) -> Self:
        """Parse `bot:app`, `bot.py` or `bots/bot.py:app`.

        Raises:
            AppNotFound: it is none of these.
        """
        place, colon, attribute = text.partition(":")
        if place.endswith(".py"):
            file = directory / place
            name = f"{file.stem}:{attribute or 'app'}"
            where = f" in {file.parent}" if file.parent != directory else ""
            return cls(text, file.parent, file.stem, attribute or "app", f"{name}{where}")
        if not (colon and attribute.isidentifier() and _is_module(place)):
            raise AppNotFound(f"{text!r} is not an app. Use MODULE:NAME, for example bot:app")
        return cls(text, directory, place, attribute)

    def load(self) -> Offhook:
        """Import the app.

        Raises:
            AppNotFound: the module can't be imported, or has no such app.
        """
        found = getattr(self._import(), self.attribute, None)
        if isinstance(found, Offhook):
            return found
        if found is None:
            raise AppNotFound(f"{self.module} has no {self.attribute!r}{self._others()}")
        raise AppNotFound(
            f"{self.module}:{self.attribute} is {type(found).__module__}.{type(found).__name__}, "
            f"not an Offhook{self._others()}. An app that mounts one is served by uvicorn."
        )

    def _import(self) -> ModuleType:
        sys.path.insert(0, str(self.directory))
        try:
            return import_module(self.module)
        except OffhookError:
            raise  # a handler or a setting is wrong: the error's own text is clear
        except ModuleNotFoundError as error:
            if error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
                raise AppNotFound(_failed(self.module, error)) from error
            raise AppNotFound(
                f"there is no module {self.module!r} in {self.directory}: "
                "go to the directory of your bot, or check the name"
            ) from error
        except (Exception, SystemExit) as error:
            raise AppNotFound(_failed(self.module, error)) from error

    def _others(self) -> str:
        names = [
            name
            for name, value in vars(sys.modules[self.module]).items()
            if isinstance(value, Offhook)
        ]
        return f"; it has {', '.join(f'{self.module}:{name}' for name in names)}" if names else ""


def _is_module(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _failed(module: str, error: BaseException) -> str:
    """Return the exception and the line of the user's code that raised it, on one line."""
    cause = traceback.format_exception_only(error)[-1].strip()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename != __file__
    ]
    own = [frame for frame in frames if "importlib" not in frame.filename]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
    return f"the module {module!r} can't be imported: {cause}{where}"
