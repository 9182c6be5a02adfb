import pytest

_PATIENT = 5.0  # seconds for an exchange with Redis; 20 ms are not enough on a busy machine


@pytest.fixture(autouse=True)
def _patience_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis", "redis_connection"):
        monkeypatch.setattr(f"offhook.cache.{module}.EXCHANGE_TIMEOUT", _PATIENT)
