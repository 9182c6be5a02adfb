import pytest

from testing.webhooks import Shell


@pytest.fixture(params=["asgi", "protocol"])
def shell(request: pytest.FixtureRequest) -> Shell:
    """What answers webhooks: both have to do so in the same way."""
    given: Shell = request.param
    return given
