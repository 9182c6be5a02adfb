"""Every error that offhook raises, in one tree.

::

    OffhookError
    ├── ConfigurationError        the configuration is wrong; the message says what to do
    │   ├── SettingsError         a setting is missing or invalid
    │   ├── AppNotFound           `module:name` is not an Offhook
    │   └── HandlerError          the parameters of a handler are not supported
    ├── StoreError
    │   ├── StoreUnavailable      nothing was written; try again (webhooks are answered 503)
    │   │   ├── StoreBroken       its file is missing, replaced or damaged; it must be repaired
    │   │   └── StoreDenied       its server lacks a GRANT, which the message names
    │   ├── BacklogFull           nothing was written: too many messages are pending (also 503)
    │   └── SchemaTooNew          a newer offhook has migrated this store
    ├── CredentialsUnavailable    the auth tokens of an account are not available at present
    ├── TwilioError               Twilio's REST API refused a request, or was not reached
    ├── MediaError                a file of a message was not fetched, saved or deleted
    │   ├── MediaNotAllowed       its URL is not at Twilio: nothing was requested
    │   ├── MediaGone             Twilio does not have it, or no longer
    │   ├── MediaTooLarge         it has more bytes than was allowed; nothing was saved
    │   ├── MediaDenied           Twilio refused the credentials
    │   └── MediaUnavailable      there was no whole answer; try again
    ├── LeaseLost                 another run has this message now: nothing may be settled or sent
    ├── InvalidReply              a reply that Twilio would refuse, detected before it is stored
    ├── InvalidSend               a send without a number to come from, or for an impossible time
    ├── InvalidState              a conversation's state is too large, or a value in it is not JSON
    ├── NotRunning                `message.reply` or another method was called outside a handler
    ├── NotAwaited                a handler returned without awaiting a reply, or another call
    └── HandlerSignal             raised by handlers to end the attempt
        ├── Discard               settle as discarded: no retry, no notice
        └── RetryLater            try again after a given time
"""


class OffhookError(Exception):
    """The root of all errors of offhook."""


class ConfigurationError(OffhookError):
    """The configuration is wrong. The message says what is wrong, and what to do."""


class SettingsError(ConfigurationError):
    """A setting is missing or invalid.

    Args:
        problems: a sentence for each problem.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class AppNotFound(ConfigurationError):  # noqa: N818 - named after what is the case, as all here
    """The given `module:name` is not an `Offhook`."""


class HandlerError(ConfigurationError):
    """A handler cannot be registered as it is written."""


class StoreError(OffhookError):
    """An operation of the store failed."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The store is unavailable, full or locked. Nothing was written; try again later."""


class StoreBroken(StoreUnavailable):
    """The file of the store is missing, replaced or damaged. It must be repaired."""


class StoreDenied(StoreUnavailable):
    """The server of the store denies a table to this role. The message says what to grant."""


class BacklogFull(StoreError):  # noqa: N818
    """OFFHOOK_MAX_BACKLOG messages are pending. Nothing was written."""


class SchemaTooNew(StoreError):  # noqa: N818
    """A newer offhook has migrated the store to a schema that this version does not know."""


class CredentialsUnavailable(OffhookError):  # noqa: N818
    """The auth tokens of an account are not available at present."""


class TwilioError(OffhookError):
    """Twilio's REST API refused a request, or was not reached.

    Args:
        text: the meaning, and what to do.
        code: Twilio's error code; empty without one.
        status: the HTTP status of the response; 0 without one.
    """

    def __init__(self, text: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


class MediaError(OffhookError):
    """A file of a message was not fetched, saved or deleted. The message says what to do."""


class MediaNotAllowed(MediaError):  # noqa: N818
    """The URL of a file is not one of its account at Twilio. Nothing was requested."""


class MediaGone(MediaError):  # noqa: N818
    """Twilio does not have the file: not yet, after some seconds, or no longer."""


class MediaTooLarge(MediaError):  # noqa: N818
    """The file has more bytes than were allowed. Nothing of it was saved."""


class MediaDenied(MediaError):  # noqa: N818
    """Twilio refused the credentials."""


class MediaUnavailable(MediaError):  # noqa: N818
    """There was no whole answer, in time. Another attempt may succeed."""


class LeaseLost(OffhookError):  # noqa: N818
    """The lease on this message has passed to another run, which alone may settle and send now."""


class InvalidReply(OffhookError, ValueError):  # noqa: N818
    """A reply that Twilio would refuse: empty, of a wrong type, or with unusable media."""


class InvalidSend(OffhookError, ValueError):  # noqa: N818
    """A send that cannot be: there is no number it could come from, or its time is not usable."""


class InvalidState(OffhookError, ValueError):  # noqa: N818
    """A conversation's state is too large, or a value in it is not JSON; the key is named."""


class NotRunning(OffhookError, RuntimeError):  # noqa: N818
    """A method of a message was called while the message was not being handled."""


class NotAwaited(OffhookError, RuntimeError):  # noqa: N818
    """A handler returned without awaiting a reply, or another call, which was never made.

    Args:
        lines: where it was called, for example `/srv/bot.py:12`.
    """

    def __init__(self, *lines: str) -> None:
        self.where = ",".join(lines)
        super().__init__(f"a call was never awaited: {self.where}")


class HandlerSignal(OffhookError):  # noqa: N818
    """Raised by handlers to end an attempt. Neither is counted as a failure."""


class Discard(HandlerSignal):
    """Settle the message as discarded: no retry, no notice, no dead letter.

    Args:
        reason: stored with the message, for people.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class RetryLater(HandlerSignal):
    """Run the handler again after a given time.

    It counts as an attempt: after the last attempt, the message is dead.

    Args:
        after: seconds until the next attempt.
        reason: stored with the attempt, for people.
    """

    def __init__(self, after: float, reason: str = "") -> None:
        super().__init__(reason or f"again after {after:g} s")
        self.after = max(0.0, float(after))
        self.reason = reason
