"""Register the user's handlers, and find the one for a message or a status."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Literal, TypedDict, Unpack, get_args, get_type_hints

from offhook.conversations.state import check
from offhook.core.messages import StatusUpdate
from offhook.errors import HandlerError, InvalidState
from offhook.ingress.credentials import Lookup
from offhook.worker.message import Message

Subject = Message | StatusUpdate
"""The argument of a handler."""

OnRetry = Literal["hold", "skip"]
"""Whether the lane waits for a message's next attempt, or later messages overtake it."""


class StatusOptions(TypedDict, total=False):
    """The options of a handler of delivery statuses.

    Attributes:
        where: called on the event loop for every subject, so it must be quick; what it raises is a
            failed attempt.
        timeout: seconds an attempt may take; None for the setting.
        max_attempts: attempts until the message is dead; None for the setting.
    """

    where: Callable[[Any], object] | None
    timeout: float | None
    max_attempts: int | None


class OptOutOptions(StatusOptions, total=False):
    """The options of a handler of opt-outs. `channel`: `sms`, `whatsapp`, ...; None for all."""

    channel: str | None


class MessageOptions(OptOutOptions, total=False):
    """The options of a handler of messages.

    Attributes:
        on_retry: `hold` keeps the lane in order, `skip` lets later messages overtake.
        state: values that the conversation's state must have; None for all.
    """

    on_retry: OnRetry
    state: Mapping[str, Any] | None


_NEVER_FILLED: Final = frozenset(
    {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
)  # *args and **kwargs


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered function with its options.

    Attributes:
        name: shown to people.
        function: the function.
        positional: the values of its positional-only parameters; `_SUBJECT` for the subject.
        keywords: the parameters that receive the subject by name.
        is_async: False for a function to be run in a thread.
        channel: of the messages it is for; None for all.
        state: of a message's conversation: values that it must have; None for all.
        where: a predicate on the subject; None for all.
        timeout: seconds an attempt may take; None for the setting.
        max_attempts: attempts until the message is dead; None for the setting.
        holds_lane: whether the lane waits with a retry.
    """

    name: str
    function: Callable[..., Any]
    positional: tuple[Any, ...]
    keywords: tuple[str, ...]
    is_async: bool
    channel: str | None = None
    state: Mapping[str, Any] | None = None
    where: Callable[[Any], object] | None = None
    timeout: float | None = None
    max_attempts: int | None = None
    holds_lane: bool = True

    def call(self, subject: Subject) -> Any:
        """Call the function; of an `async def`, return the coroutine."""
        positional = (subject if value is _SUBJECT else value for value in self.positional)
        return self.function(*positional, **dict.fromkeys(self.keywords, subject))

    def wants(self, subject: Subject) -> bool:
        """Return whether the handler is for this subject. Raises what `where` raises."""
        if self.channel is not None and getattr(subject, "channel", None) != self.channel:
            return False
        if self.state is not None and not (
            isinstance(subject, Message) and subject.conversation.state.matches(self.state)
        ):
            return False
        return self.where is None or bool(self.where(subject))


class Handlers:
    """The handlers of an app, in the order of their registration. The first that matches is run.

    Attributes:
        credentials: finds the credentials of an account; None for those of the settings.
    """

    def __init__(self) -> None:
        self.credentials: Lookup | None = None
        self._messages: list[Handler] = []
        self._statuses: list[Handler] = []
        self._opt_outs: list[Handler] = []

    def add_message(self, function: Callable[..., Any], **options: Unpack[MessageOptions]) -> None:
        """Register a handler of inbound messages.

        Args:
            function: `async def`, or `def` (run in a thread). It receives a `Message` for each
                parameter annotated so, and nothing else.
            options: see `MessageOptions`.

        Raises:
            HandlerError: it has a parameter that can't be given, or an option is invalid.
        """
        self._messages.append(_handler(function, Message, **options))

    def add_status(self, function: Callable[..., Any], **options: Unpack[StatusOptions]) -> None:
        """Register a handler of delivery statuses; arguments as of `add_message`.

        It receives a `StatusUpdate`. What it returns is sent to the person, as by `Offhook.send`.
        """
        _refuse_unknown(options, StatusOptions)
        self._statuses.append(_handler(function, StatusUpdate, **options))

    def add_opt_out(self, function: Callable[..., Any], **options: Unpack[OptOutOptions]) -> None:
        """Register a handler of messages that Twilio treats as STOP, START or HELP.

        Arguments as of `add_message`; `message.opt_out` says which of the three it is.
        """
        _refuse_unknown(options, OptOutOptions)
        self._opt_outs.append(_handler(function, Message, **options))

    def set_credentials(self, function: Lookup) -> None:
        """Register the function that finds the credentials of an account.

        Args:
            function: see `ingress.credentials.Lookup`.

        Raises:
            HandlerError: it is not async, or there is one already.
        """
        if not inspect.iscoroutinefunction(_code(function)):
            raise HandlerError(
                "the function for the credentials must be async: answers wait for it"
            )
        if self.credentials is not None:
            raise HandlerError("a credentials function is registered already")
        self.credentials = function

    def __bool__(self) -> bool:
        """Return whether a handler is registered."""
        return bool(self._messages or self._statuses or self._opt_outs)

    def find(self, subject: Subject) -> Handler | None:
        """Return the first handler that matches. Raises what a `where` raises."""
        match subject:
            case StatusUpdate():
                candidates = self._statuses
            case Message(opt_out=""):
                candidates = self._messages
            case _:
                candidates = self._opt_outs
        return next((handler for handler in candidates if handler.wants(subject)), None)


_SUBJECT: Final = object()  # stands for the message or status until there is one


def _refuse_unknown(options: Mapping[str, object], allowed: type) -> None:
    """Refuse what only other kinds of handlers have: types are not checked at run time."""
    if unknown := options.keys() - get_type_hints(allowed).keys():
        raise HandlerError(f"this kind of handler has no option {', '.join(sorted(unknown))}")


def _handler(
    function: Callable[..., Any],
    given: type[Subject],
    *,
    where: Callable[[Any], object] | None = None,
    timeout: float | None = None,
    max_attempts: int | None = None,
    channel: str | None = None,
    on_retry: OnRetry = "hold",
    state: Mapping[str, Any] | None = None,
) -> Handler:
    """Check a function and its options; return its handler.

    Raises:
        HandlerError: naming what is allowed.
    """
    if not callable(function):
        raise HandlerError(f"a handler is a function, not {function!r}")
    name = getattr(function, "__qualname__", None) or repr(function)
    code = _code(function)
    try:
        _check(code, where, timeout, max_attempts, on_retry)
        _check_state(state)
        positional, keywords = _parameters(function, given)
    except HandlerError as error:
        raise HandlerError(f"{name}{_place(code)}: {error}") from None
    return Handler(
        name=name,
        function=function,
        positional=positional,
        keywords=keywords,
        is_async=inspect.iscoroutinefunction(code),
        channel=None if channel is None else channel.lower(),
        state=None if state is None else dict(state),
        where=where,
        timeout=timeout,
        max_attempts=max_attempts,
        holds_lane=on_retry == "hold",
    )


def _check(
    code: Callable[..., Any],
    where: Callable[[Any], object] | None,
    timeout: float | None,
    max_attempts: int | None,
    on_retry: OnRetry,
) -> None:
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise HandlerError("it yields; a handler returns its replies, or awaits message.reply")
    if where is not None and inspect.iscoroutinefunction(where):
        raise HandlerError("where is a plain function that answers at once, not async")
    if timeout is not None and not timeout > 0:
        raise HandlerError(f"timeout is in seconds and more than 0, not {timeout!r}")
    if max_attempts is not None and max_attempts < 1:
        raise HandlerError(f"max_attempts is at least 1, not {max_attempts!r}")
    if on_retry not in get_args(OnRetry):
        raise HandlerError(f'on_retry is "hold" or "skip", not {on_retry!r}')


def _check_state(state: object) -> None:
    if state is None:
        return
    if not isinstance(state, Mapping):
        raise HandlerError(f'state is a dict such as {{"step": "age"}}, not {state!r}')
    try:
        for name, value in state.items():
            check(name, value)
    except InvalidState as error:
        raise HandlerError(str(error)) from None


def _place(code: Callable[..., Any]) -> str:
    """Return where a function is written, for people; empty if that is not known."""
    written = getattr(inspect.unwrap(code), "__code__", None)
    return f" ({written.co_filename}:{written.co_firstlineno})" if written else ""


def _parameters(
    function: Callable[..., Any], given: type[Subject]
) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Return the arguments by position and by name; parameters with a default keep it."""
    namespace = getattr(inspect.unwrap(_code(function)), "__globals__", {})
    positional: list[Any] = []
    keywords: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in _NEVER_FILLED:
            continue
        asked = _asks_for(parameter, given, namespace)
        if not asked and parameter.default is parameter.empty:
            raise HandlerError(_cannot_give(parameter, given))
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append(_SUBJECT if asked else parameter.default)
        elif asked:
            keywords.append(parameter.name)
    return tuple(positional), tuple(keywords)


def _cannot_give(parameter: inspect.Parameter, given: type[Subject]) -> str:
    right = f"{parameter.name}: {given.__name__}"
    if parameter.annotation is parameter.empty:
        return f"its parameter {parameter.name} has no annotation: write `{right}`"
    return (
        f"it can't be given `{parameter}`: write `{right}` ({given.__name__} imported at run time, "
        "not only for the type checker), or give it a default"
    )


def _asks_for(
    parameter: inspect.Parameter, given: type[Subject], namespace: Mapping[str, Any]
) -> bool:
    # One at a time: one annotation that cannot be resolved must not hide the others.
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        wanted = get_type_hints(holder, globalns=dict(namespace))[parameter.name]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return False
    return wanted is given or given in get_args(wanted)


def _code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind partials and objects with `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    call: Callable[..., Any] = type(function).__call__
    return call
