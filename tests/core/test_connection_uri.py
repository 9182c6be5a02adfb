import pytest

from offhook.core.connection_uri import ConnectionUri, problem

PASSWORDS = ["ge/heim", "12/heim", "ge@heim", "ge#heim", "ge?heim", "1?a=heim", "ge%heim", "[heim"]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "redis", "rediss"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_that_is_not_escaped_is_told_and_not_quoted(scheme: str, password: str) -> None:
    told = problem(f"{scheme}://bot:{password}@db.example.com:5432/bot")
    assert "percent-encode" in told
    assert "heim" not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bot:geheim@db:54x2/bot",
        "postgresql://bot:geheim@db:0/bot",
        "postgresql://bot:geheim@db:99999/bot",
        "postgresql://bot:geheim@one:5432,two:heim/bot",
        "postgresql://bot:geheim",
        "postgresql://bot:geheim@one,,two/bot",
        "postgresql://bot:geheim@db/bot?port=heim",
        "postgresql://bot:geheim@db/bot?heim",
        "postgresql://bot:geheim@[::1/bot",
        "redis://:geheim@host:heim/0",
        "redis://:ge\nheim@host/0",
    ],
)
def test_what_a_driver_would_misread_is_told_and_not_quoted(url: str) -> None:
    assert problem(url)
    assert "heim" not in problem(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///bot",
        "postgresql://db/bot",
        "postgresql://bot@db:5432/bot",
        "postgresql://bot:a:b!$&'()*+,;=~.-_@db:5432/bot?sslmode=require&application_name=x",
        "postgresql://bot:%2F%40%23%3F%25%5B@db/bot",
        "postgresql://bot:secret@one:5432,two,[::1]:5433/bot?target_session_attrs=read-write",
        "postgresql://bot@%2Fvar%2Frun%2Fpostgresql/bot",
        "postgresql:///bot?host=/var/run/postgresql&port=5432&password=secret",
        "redis://localhost",
        "redis://:secret@localhost:6379/0",
        "rediss://bot:secret@[::1]:6379/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1&password=secret",
        "unix://bot:secret@/run/redis.sock",
    ],
)
def test_what_drivers_take_is_taken(url: str) -> None:
    assert problem(url) == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://bot:geheim@db:5432/bot?password=geheim", "postgresql://db:5432/bot"),
        ("postgresql://bot:geheim@a:1,[::1]:2/bot", "postgresql://a:1,[::1]:2/bot"),
        ("postgresql:///bot?user=u&password=geheim", "postgresql:///bot"),
    ],
)
def test_it_is_shown_without_credentials(url: str, shown: str) -> None:
    uri = ConnectionUri.parse(url)
    assert uri.shown == shown
    assert uri.has_password


def test_who_has_no_password_has_none() -> None:
    assert not ConnectionUri.parse("postgresql://bot@db/bot?application_name=bot").has_password
    assert not ConnectionUri.parse("sqlite:///offhook.db").has_password
