"""Where webhooks are kept. Every store keeps `offhook.ports.Store`."""

from pathlib import Path

from offhook.errors import SettingsError
from offhook.ports import Store


def open_store(url: str) -> Store:
    """Return the store that a URL names; `await store.open()` connects it.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute/path.db`.

    Raises:
        SettingsError: when no store has such a URL.
    """
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        raise SettingsError(f"OFFHOOK_STORE: {url!r} should look like sqlite:///offhook.db")
    # Imported when asked for: users of another store need not load this one.
    from offhook.stores.sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore(Path(path).expanduser().absolute())
