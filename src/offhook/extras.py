"""The packages that an extra installs: a bot on SQLite needs none of them."""

from importlib.util import find_spec
from typing import Final, Literal

Extra = Literal["postgres", "redis", "dev"]

_MODULES: Final[dict[Extra, tuple[str, ...]]] = {
    "postgres": ("asyncpg",),
    "redis": ("redis", "hiredis"),
    "dev": ("watchfiles",),
}


def missing(extra: Extra) -> str:
    """Return what is missing of an extra, and the command that installs it; empty for nothing."""
    absent = [name for name in _MODULES[extra] if find_spec(name) is None]
    if not absent:
        return ""
    return f'needs {" and ".join(absent)}, not installed: pip install "offhook[{extra}]"'
