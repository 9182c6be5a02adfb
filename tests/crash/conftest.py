import logging

import pytest


@pytest.fixture
def quiet_server(caplog: pytest.LogCaptureFixture) -> None:
    """Let the REST side's server not complain of answers that are lost on purpose."""
    caplog.set_level(logging.CRITICAL, "uvicorn.error")
