"""Remember answers, so that a repeated webhook is not validated again. See `ValidationCache`."""

from offhook.cache.memory import MemoryCache
from offhook.events import Observer, Problem, Topic
from offhook.ports import ValidationCache
from offhook.settings import Settings

__all__ = ["open_cache"]


def open_cache(settings: Settings, observer: Observer) -> ValidationCache:
    """Return the cache that the settings name; `await cache.start()` connects it.

    Args:
        settings: `cache`, `cache_ttl`, `auth_token` and `store` are read.
        observer: called when Redis becomes unavailable, and when it is available again.

    Raises:
        SettingsError: the URL cannot be read.
    """
    url = settings.cache.get_secret_value()
    if url == "memory://":
        return MemoryCache(ttl=settings.cache_ttl)
    if not any(settings.auth_tokens):
        # Without a secret to sign with, anyone who can write to Redis could forge entries.
        text = "OFFHOOK_CACHE needs TWILIO_AUTH_TOKEN: only this process' memory is used"
        observer(Problem(Topic.CACHE_UNAVAILABLE, text))
        return MemoryCache(ttl=settings.cache_ttl)
    # Imported when asked for: it takes 0.2 s, and most have no Redis.
    from offhook.cache.redis import RedisCache  # noqa: PLC0415
    from offhook.cache.redis_connection import RedisConnection  # noqa: PLC0415
    from offhook.cache.signing import EntrySigner, store_identity  # noqa: PLC0415

    store = store_identity(settings.store.get_secret_value())
    signer = EntrySigner(tokens=settings.auth_tokens, store=store, ttl=settings.cache_ttl)
    return RedisCache(RedisConnection(url, observer), signer, ttl=settings.cache_ttl)
