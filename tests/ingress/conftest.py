import pytest

from testing.webhooks import Shell


@pytest.fixture(autouse=True)
def _patience_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.web.health.READY_TIMEOUT", 60.0)  # a busy machine is ready too


@pytest.fixture(params=["asgi", "protocol"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """What answers webhooks: both have to do so in the same way."""
    given: Shell = request.param
    return given
