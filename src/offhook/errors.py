"""Every error that offhook raises, in one tree.

::

    OffhookError
    ├── ConfigurationError        something is set up wrong; the message says what to do
    │   ├── SettingsError         a setting is missing or unusable
    │   ├── AppNotFound           `module:name` does not lead to an Offhook
    │   └── HandlerError          a handler asks for arguments that cannot be given
    ├── StoreError
    │   ├── StoreUnavailable      nothing was written; try again (webhooks are answered 503)
    │   │   └── StoreBroken       its file is gone, replaced or damaged: somebody must mend it
    │   ├── BacklogFull           nothing was written: too many messages wait (503 as well)
    │   └── SchemaTooNew          a newer offhook wrote this store
    ├── CredentialsUnavailable    an account's auth tokens can't be had at present
    ├── TwilioError               Twilio's REST API refused, or was not reached
    ├── LeaseLost                 another run has this message now: nothing may be settled or sent
    ├── InvalidReply              a reply that Twilio would refuse, found before it is stored
    ├── NotRunning                `message.reply` outside a handler
    ├── NotAwaited                a handler returned, and has not awaited its `message.reply`
    └── HandlerSignal             raised by handlers to say how a message ends
        ├── Discard               settle as discarded: no retry, no notice
        └── RetryLater            try again after a given time
"""


class OffhookError(Exception):
    """The root of all errors of offhook."""


class ConfigurationError(OffhookError):
    """Something is set up wrong. The message says what, and what to do."""


class SettingsError(ConfigurationError):
    """A setting is missing or unusable.

    Args:
        problems: a sentence for each.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class AppNotFound(ConfigurationError):  # noqa: N818 - named after what is the case, as all here
    """The given `module:name` does not lead to an `Offhook`."""


class HandlerError(ConfigurationError):
    """A handler cannot be registered as it is written."""


class StoreError(OffhookError):
    """The store could not do what it was asked."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store is away, full or locked. Nothing was written; the same call may succeed later."""


class StoreBroken(StoreUnavailable):
    """The store's file is gone, replaced or damaged. It does not come back by itself."""


class BacklogFull(StoreError):  # noqa: N818
    """As many messages wait as OFFHOOK_MAX_BACKLOG allows. Nothing was written."""


class SchemaTooNew(StoreError):  # noqa: N818
    """The store was written by a newer offhook, whose schema this one does not know."""


class CredentialsUnavailable(OffhookError):  # noqa: N818
    """The auth tokens of an account can't be had at present; they may be had later."""


class TwilioError(OffhookError):
    """Twilio's REST API refused what it was asked, or was not reached.

    Args:
        text: what that means and what to do.
        code: Twilio's own error code; empty without one.
        status: of the HTTP answer; 0 without one.
    """

    def __init__(self, text: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


class LeaseLost(OffhookError):  # noqa: N818
    """The lease on this message has passed to another run, which alone may settle and send now."""


class InvalidReply(OffhookError, ValueError):  # noqa: N818
    """A reply that Twilio would refuse: empty, of a wrong type, or with unusable media."""


class NotRunning(OffhookError, RuntimeError):  # noqa: N818
    """A message that is not being handled now cannot be replied to."""


class NotAwaited(OffhookError, RuntimeError):  # noqa: N818
    """A handler returned without having awaited a reply. Nothing of that reply was sent.

    Args:
        lines: where `message.reply` was called, as `/srv/bot.py:12`.
    """

    def __init__(self, *lines: str) -> None:
        self.where = ",".join(lines)
        super().__init__(f"message.reply was never awaited: {self.where}")


class HandlerSignal(OffhookError):  # noqa: N818
    """Raised by handlers to say how a message ends. Neither is counted as a failure."""


class Discard(HandlerSignal):
    """Settle the message as discarded: no retry, no notice, no dead letter.

    Args:
        reason: kept with the message, for people.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class RetryLater(HandlerSignal):
    """Run the handler again after a given time.

    It counts as an attempt: the last one that is allowed makes the message dead.

    Args:
        after: seconds until the next attempt.
        reason: kept with the attempt, for people.
    """

    def __init__(self, after: float, reason: str = "") -> None:
        super().__init__(reason or f"again after {after:g} s")
        self.after = max(0.0, float(after))
        self.reason = reason
