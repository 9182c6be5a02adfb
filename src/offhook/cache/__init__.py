"""What was answered before, so that a repeat costs nothing. Every cache keeps `ValidationCache`."""

from offhook.cache.memory import MemoryCache
from offhook.events import Observer, Problem, Topic
from offhook.ports import ValidationCache
from offhook.settings import Settings

__all__ = ["open_cache"]


def open_cache(settings: Settings, observer: Observer) -> ValidationCache:
    """Return the cache that the settings name; `await cache.start()` connects it.

    Args:
        settings: `cache`, `cache_ttl`, `auth_token` and `store` are read.
        observer: is told when Redis is away, and when it is back.

    Raises:
        SettingsError: the URL cannot be read.
    """
    url = settings.cache.get_secret_value()
    if url == "memory://":
        return MemoryCache(ttl=settings.cache_ttl)
    if not any(settings.auth_tokens):
        # Without a secret, anybody who can write to Redis could say that we have a message.
        text = "OFFHOOK_CACHE needs TWILIO_AUTH_TOKEN: only this process' memory is used"
        observer(Problem(Topic.CACHE_UNAVAILABLE, text))
        return MemoryCache(ttl=settings.cache_ttl)
    # Imported when asked for: it takes 0.2 s, and most have no Redis.
    from offhook.cache.redis import RedisCache  # noqa: PLC0415
    from offhook.cache.redis_connection import Link  # noqa: PLC0415
    from offhook.cache.signing import Seal, store_identity  # noqa: PLC0415

    store = store_identity(settings.store.get_secret_value())
    seal = Seal(tokens=settings.auth_tokens, store=store, ttl=settings.cache_ttl)
    return RedisCache(Link(url, observer), seal, ttl=settings.cache_ttl)
