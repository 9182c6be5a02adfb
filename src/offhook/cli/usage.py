"""Say what is wrong with a command line in one line: what is wrong, and where help is."""

from typing import Any, Final

import typer

from offhook.core.values import listed

USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__mro__[2]
"""The root of typer's errors about a command line. Its module moved between releases."""

EXIT_CODE: Final = 2


def complaint(error: Any) -> str:
    """Return what is wrong, and the command that shows the help."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "offhook"
    return f"{_wrong(error)} (see {command} --help)"


def is_plea_for_help(error: Exception) -> bool:
    """Return whether a group was called without a command, which shows its help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def name_of(parameter: Any) -> str:
    """Return the name of an option or an argument, as it is called in help."""
    longest: str = max(parameter.opts, key=len)
    if longest.startswith("-"):
        return longest
    return str(parameter.metavar or parameter.name).strip("[].")


def _wrong(error: Any) -> str:
    message: str = error.message.rstrip(".")
    parameter = getattr(error, "param", None)
    match type(error).__name__:
        case "NoSuchOption":
            near = sorted(error.possibilities or ())
            hint = f". Did you mean {listed(near, 'or')}?" if near else ""
            return f"there is no option {error.option_name}{hint}"
        case "MissingParameter":
            return f"{name_of(parameter)} is missing"
        case "BadParameter" if parameter is not None and message.startswith("must "):
            return f"{name_of(parameter)} {message}"
        case "BadParameter" if parameter is not None and parameter.opts[0].startswith("-"):
            return f"{name_of(parameter)}: {message}"
        case "BadParameter":
            return message
        case _:  # typer's own words: "No such command 'rum'. Did you mean 'run'?"
            return message[:1].lower() + message[1:]
