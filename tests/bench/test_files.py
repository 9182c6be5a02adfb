import pytest

from offhook.bench.target import allow_open_files
from offhook.errors import ConfigurationError


def test_more_connections_than_the_system_allows_are_a_named_error() -> None:
    with pytest.raises(ConfigurationError, match="ulimit -n"):
        allow_open_files(2_000_000_000)
