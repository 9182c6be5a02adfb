import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import pytest

from offhook.app import Offhook
from offhook.core.messages import StatusUpdate
from offhook.errors import HandlerError
from offhook.worker.handlers import Handler, Handlers
from offhook.worker.message import Message


def message(body: str = "hello", sender: str = "+15551230001", **more: str) -> Message:
    return Message.parse({"From": sender, "To": "+15005550006", "Body": body, **more})


HELLO = message()
STATUS = StatusUpdate.parse({"MessageSid": "SM1", "MessageStatus": "delivered"})


def found(handlers: Handlers, subject: Message | StatusUpdate) -> str | None:
    handler = handlers.find(subject)
    return None if handler is None else handler.name.rpartition(".")[2]


def only(function: Callable[..., Any], **options: Any) -> Handler:
    handlers = Handlers()
    handlers.add_message(function, **options)
    handler = handlers.find(message())
    assert handler is not None
    return handler


def test_the_first_handler_that_fits_is_found() -> None:
    handlers = Handlers()

    def shout(message: Message) -> None: ...
    def whatsapp(message: Message) -> None: ...
    def others(message: Message) -> None: ...

    handlers.add_message(shout, where=lambda message: message.body.isupper())
    handlers.add_message(whatsapp, channel="whatsapp")
    handlers.add_message(others)
    assert found(handlers, message("HELLO")) == "shout"
    assert found(handlers, message(sender="whatsapp:+15551230001")) == "whatsapp"
    assert found(handlers, message()) == "others"
    assert found(handlers, STATUS) is None


def test_what_where_raises_is_the_callers() -> None:
    handlers = Handlers()
    handlers.add_message(lambda: None, where=lambda message: message.raw["missing"])
    with pytest.raises(KeyError):
        handlers.find(message())


def test_opt_outs_reach_opt_out_handlers_alone() -> None:
    handlers = Handlers()

    def any_message() -> None: ...
    def opted_out(message: Message) -> None: ...

    handlers.add_message(any_message)
    assert found(handlers, message("Stop ")) is None
    assert found(handlers, message("hi", OptOutType="HELP")) is None
    handlers.add_opt_out(opted_out)
    assert found(handlers, message("stop")) == "opted_out"
    assert found(handlers, message("go on", OptOutType="START")) == "opted_out"
    assert found(handlers, message("START")) == "any_message"
    assert found(handlers, message("help")) == "any_message"


def test_statuses_reach_status_handlers_alone() -> None:
    handlers = Handlers()

    def failed(status: StatusUpdate) -> None: ...
    def others(status: StatusUpdate) -> None: ...

    handlers.add_status(failed, where=lambda status: status.status == "failed")
    handlers.add_status(others)
    assert found(handlers, STATUS) == "others"
    assert found(handlers, message()) is None


class Bot:
    def method(self, message: Message) -> tuple[object, ...]:
        return (message,)

    def __call__(self, message: Message) -> tuple[object, ...]:
        return (message,)

    @classmethod
    def of_class(cls, message: Message) -> tuple[object, ...]:
        return (message,)


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def plain(message: Message) -> tuple[object, ...]:
    return (message,)


def quoted(message: "Message") -> tuple[object, ...]:
    return (message,)


def optional(message: Message | None = None) -> tuple[object, ...]:
    return (message,)


def annotated(message: Annotated[Message, "the message"]) -> tuple[object, ...]:
    return (message,)


def keyword_only(*, message: Message) -> tuple[object, ...]:
    return (message,)


def positional_only(first: int = 7, message: Message = HELLO, /) -> tuple[object, ...]:
    return (message,) if first == 7 else ()


def with_defaults(
    message: Message, retries: int = 3, *args: int, **more: int
) -> tuple[object, ...]:
    return (message,) if (retries, args, more) == (3, (), {}) else ()


def unresolvable_default(
    message: Message,
    database: "Database" = None,  # type: ignore[name-defined] # noqa: F821 - the subject
) -> tuple[object, ...]:
    return (message,) if database is None else ()


def with_database(database: str, message: Message) -> tuple[object, ...]:
    return (message,) if database == "db" else ()


@pytest.mark.parametrize(
    "function",
    [
        plain,
        quoted,
        optional,
        annotated,
        keyword_only,
        positional_only,
        with_defaults,
        unresolvable_default,
        Bot().method,
        Bot.of_class,
        Bot(),
        wrapped(plain),
        functools.partial(with_database, "db"),
        functools.partial(with_database, database="db"),
    ],
)
def test_a_handler_receives_what_it_names_by_type(function: Callable[..., Any]) -> None:
    subject = message("this one")
    handler = only(function)
    assert handler.call(subject) == (subject,)
    assert not handler.is_async


def test_a_handler_may_name_nothing() -> None:
    assert only(lambda: "constant").call(message()) == "constant"


class AsyncBot:
    async def __call__(self, message: Message) -> None: ...

    async def method(self, message: Message) -> None: ...


async def coroutine(message: Message) -> None: ...


@pytest.mark.parametrize(
    "function",
    [coroutine, AsyncBot(), AsyncBot().method, functools.partial(coroutine)],
)
def test_async_handlers_are_told_from_those_for_a_thread(
    function: Callable[..., Awaitable[None]],
) -> None:
    assert only(function).is_async


def unannotated(message):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - the subject
    return message


def other_type(message: Message, text: str) -> None: ...


def of_status(status: StatusUpdate) -> None: ...


async def yielding(message: Message) -> AsyncIterator[str]:
    yield message.body


@pytest.mark.parametrize("function", [unannotated, other_type, of_status, yielding, "plain"])
def test_what_cannot_be_called_is_refused_at_registration(function: Callable[..., Any]) -> None:
    with pytest.raises(HandlerError, match=r"annotation|write|returns its replies|is a function"):
        Handlers().add_message(function)


def test_a_refusal_says_what_may_be_named() -> None:
    line = unannotated.__code__.co_firstlineno
    with pytest.raises(HandlerError) as refused:
        Handlers().add_message(unannotated)
    assert str(refused.value) == (
        f"unannotated ({__file__}:{line}): its parameter message has no annotation: "
        "write `message: Message`"
    )
    with pytest.raises(HandlerError, match=r"`text: str`: write `text: Message`"):
        Handlers().add_message(other_type)
    with pytest.raises(HandlerError, match=r"write `message: StatusUpdate`"):
        Handlers().add_status(plain)


def test_a_decorator_needs_no_parentheses() -> None:
    app = Offhook()

    @app.message
    def greet(message: Message) -> str:
        return f"Hello {message.body}"

    @app.status
    def note(status: StatusUpdate) -> None: ...

    @app.opt_out
    def leave(message: Message) -> None: ...

    assert greet(message()) == "Hello hello", "it is the function itself"
    assert (found(app.handlers, message()), found(app.handlers, STATUS)) == ("greet", "note")
    assert found(app.handlers, message("STOP", OptOutType="STOP")) == "leave"


async def never(message: Message) -> bool:
    return False


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"max_attempts": 0},
        {"on_retry": "jump"},
        {"where": never},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(HandlerError):
        Handlers().add_message(plain, **options)


def test_an_option_that_a_kind_of_handler_does_not_have_is_refused() -> None:
    unchecked: dict[str, Any] = {"channel": "sms"}
    with pytest.raises(HandlerError, match="no option channel"):
        Handlers().add_status(plain, **unchecked)
    unchecked = {"on_retry": "skip"}
    with pytest.raises(HandlerError, match="no option on_retry"):
        Handlers().add_opt_out(plain, **unchecked)


def test_options_are_kept() -> None:
    handler = only(plain, timeout=2.5, max_attempts=7, on_retry="skip")
    assert (handler.timeout, handler.max_attempts, handler.holds_lane) == (2.5, 7, False)
