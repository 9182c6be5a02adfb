"""From settings to a cache."""

from typing import Any

import pytest

from offhook.cache import open_cache
from offhook.cache.memory import MemoryCache
from offhook.cache.redis import RedisCache
from offhook.errors import SettingsError
from offhook.events import Event, Problem
from offhook.settings import Settings


def opened(told: list[Event], **given: Any) -> object:
    return open_cache(Settings.load(env_file=None, **given), told.append)


def test_memory_is_the_default() -> None:
    assert isinstance(opened([]), MemoryCache)


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h", "unix:///run/redis.sock"])
def test_redis_is_named_by_its_url(url: str) -> None:
    assert isinstance(opened([], cache=url, auth_token="t"), RedisCache)


def test_without_a_token_nothing_could_be_sealed_so_redis_is_not_used() -> None:
    told: list[Event] = []
    assert isinstance(opened(told, cache="redis://h"), MemoryCache)
    (problem,) = told
    assert isinstance(problem, Problem)
    assert "TWILIO_AUTH_TOKEN" in problem.text


def test_a_url_that_cannot_be_read_stops_the_start() -> None:
    with pytest.raises(SettingsError, match=r"^OFFHOOK_CACHE"):
        opened([], cache="redis://host:many/0", auth_token="t")
