"""The Python interface: public names, events, errors and the simulator, from their docstrings."""

import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Final

import offhook
from offhook import errors
from offhook import events as events_module
from offhook.core import messages
from offhook.core.lifecycle import Delivery
from offhook.core.reasons import Cause
from offhook.twilio import simulator as simulator_module
from tools.pages.docstrings import Docstring

_WIDTH: Final = 90  # characters of a signature on one line
_MODULES: Final = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")


def public_names() -> str:
    """Return all of `offhook.__all__`: the app, then what it gives and takes, then errors."""
    things = [getattr(offhook, name) for name in offhook.__all__]
    return _all(
        sorted(things, key=lambda one: (issubclass(one, Exception), one != offhook.Offhook))
    )


def values() -> str:
    """Return what messages and sends hold."""
    return _all([messages.Button, messages.Location, messages.Referral, Delivery])


def simulator() -> str:
    """Return of the simulator what tests use."""
    wanted = ("Simulator", "Credentials", "File", "Delivered", "Outbound", "Trouble")
    return _all(getattr(simulator_module, name) for name in wanted)


def events() -> str:
    """Return the members of the union `offhook.events.Event`."""
    return _all(typing.get_args(events_module.Event))


def topics() -> str:
    """Return what a `Problem` may be about, as a table."""
    rows = [f"| `{topic}` | {topic.meaning} |" for topic in events_module.Topic]
    return "\n".join(["| topic | what is the matter |", "|---|---|", *rows])


def causes() -> str:
    """Return what an explanation may say, as a table."""
    rows = [f"| `{cause}` | {cause.sentence} |" for cause in Cause]
    return "\n".join(["| cause | sentence |", "|---|---|", *rows])


def error_tree() -> str:
    """Return the tree of errors, as their module draws it."""
    drawn = Docstring.of(errors).text.partition("::\n")[2]
    return f"```text\n{inspect.cleandoc(drawn)}\n```"


def _all(things: Iterable[Any]) -> str:
    return "\n\n".join(part for thing in things for part in _class(thing))


def _class(thing: type) -> Iterator[str]:
    docstring = Docstring.of(thing)
    inherited = [base for base in thing.__mro__[1:] if dataclasses.is_dataclass(base)]
    yield f"### `{thing.__name__}`"
    if "Args" in docstring.sections:  # others are not made by users
        yield _signature(thing, f"class {thing.__name__}")
    yield docstring.markdown(without=frozenset({"Attributes"}))
    if fields := _fields(thing, docstring, inherited):
        yield fields
    for one in (thing, *inherited):
        for name, member in vars(one).items():
            if not name.startswith("_"):
                yield from _member(thing.__name__, name, member)


def _fields(thing: type, docstring: Docstring, inherited: Iterable[type]) -> str:
    described = dict(docstring.items("Attributes"))
    for base in inherited:
        described |= Docstring.of(base).items("Attributes")
    if dataclasses.is_dataclass(thing):
        types = {field.name: _type(field.type) for field in dataclasses.fields(thing)}
    else:
        types = dict.fromkeys(described, "")
    # An argument is described where it is given.
    shown = types.keys() - docstring.items("Args").keys()
    rows = [
        f"| `{name}` | {_code(types[name])} | {described.get(name, '')} |"
        for name in types
        if name in shown and not name.startswith("_")
    ]
    if not rows:
        return ""
    return "\n".join(["| attribute | type | meaning |", "|---|---|---|", *rows])


def _code(type_: str) -> str:
    return f"`{type_}`".replace("|", "\\|") if type_ else ""


def _member(owner: str, name: str, member: Any) -> Iterator[str]:
    match member:
        case property():
            yield f"#### `{owner}.{name}`"
            yield Docstring.of(member).markdown()
        case staticmethod() | classmethod():
            yield from _function(owner, name, member.__func__)
        case _ if inspect.isfunction(member):
            yield from _function(owner, name, member)


def _function(owner: str, name: str, function: Any) -> Iterator[str]:
    docstring = Docstring.of(function)
    if not docstring.text:
        return
    prefix = "async def" if inspect.iscoroutinefunction(function) else "def"
    if inspect.isasyncgenfunction(inspect.unwrap(function)):
        prefix = "@asynccontextmanager\nasync def"
    yield f"#### `{owner}.{name}`"
    yield _signature(function, f"{prefix} {name}")
    yield docstring.markdown()


def _signature(thing: Any, start: str) -> str:
    signature = inspect.signature(thing)
    shown = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.name not in {"self", "cls"} and parameter.name[0] != "_"
    ]
    given = [_parameter(parameter) for parameter in shown]
    kinds = [parameter.kind for parameter in shown]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        given.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returned = signature.return_annotation
    end = "" if returned in {signature.empty, None} else f" -> {_type(returned)}"
    line = f"{start}({', '.join(given)}){end}"
    if len(line) > _WIDTH:
        line = "\n".join([f"{start}(", *(f"    {one}," for one in given), f"){end}"])
    return f"```python\n{line}\n```"


def _parameter(parameter: inspect.Parameter) -> str:
    shown = str(parameter.replace(annotation=parameter.empty, default=parameter.empty))
    if parameter.annotation is not parameter.empty:
        shown += f": {_type(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        shown += f" = {_default(parameter.default)}"
    return shown


def _default(value: Any) -> str:
    match value:
        case enum.Enum():
            return f"{type(value).__name__}.{value.name}"
        case str():
            return f'"{value}"'
        case _ if repr(value) == "<factory>":  # so dataclasses show a default that is made
            return "{}"
        case _ if callable(value):
            return "..."
        case _:
            return repr(value)


def _type(annotation: Any) -> str:
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return " | ".join(map(_type, typing.get_args(annotation)))
    if annotation is types.NoneType:
        return "None"
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return _MODULES.sub("", text).replace("'", '"').replace("~", "")
