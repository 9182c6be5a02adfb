"""Checks of the servers that the settings name; their drivers are imported when there are any."""

from offhook.doctor.finding import Findings
from offhook.settings import Settings


async def postgres(settings: Settings) -> Findings:
    """Check a PostgreSQL server. See `doctor.postgres`."""
    if settings.store_file is not None:
        return []
    from offhook.doctor.postgres import server  # noqa: PLC0415

    return await server(settings)


async def redis(settings: Settings) -> Findings:
    """Check Redis. See `doctor.redis`."""
    url = settings.cache.get_secret_value()
    if url == "memory://":
        return []
    from offhook.doctor.redis import redis_at  # noqa: PLC0415

    return await redis_at(url)
