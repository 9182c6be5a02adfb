import pytest

from offhook.core.hosts import HostNames, host_name, is_inner


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("bot.example.com", "bot.example.com"),
        ("BOT.Example.com.:8443", "bot.example.com"),
        ("localhost:", "localhost"),
        ("127.0.0.1:65535", "127.0.0.1"),
        ("[2001:DB8::7]:80", "[2001:db8::7]"),
        ("my_bot", "my_bot"),
        ("", None),
        (":80", None),
        ("a b", None),
        ("a/b", None),
        ("a@b", None),
        ("a,b", "a,b"),  # a name may hold it (RFC 3986, 3.2.2); nobody has one
        ("a:b", None),
        ("a:65536", None),
        ("a:80:80", None),
        ("2001:db8::7", None),
        ("[", None),
        ("[zz]", None),
        ("a\n", None),
        ("\u0661.example", None),
        ("a:\u0661", None),
        ("a" * 256, None),
    ],
)
def test_a_host_has_a_name_or_is_none(host: str, name: str | None) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("listed", "among", "not_among"),
    [
        (["Bot.example.com."], ["bot.example.com"], ["a.bot.example.com", "example.com", ""]),
        (["*.example.com"], ["a.example.com", "b.a.example.com"], ["example.com", "aexample.com"]),
        (["*"], ["anything", ""], []),
        (["[::1]"], ["[::1]"], ["::1"]),
        ([], [], ["localhost", ""]),
    ],
)
def test_names_are_whole_or_below_one(
    listed: list[str], among: list[str], not_among: list[str]
) -> None:
    hosts = HostNames(listed)
    assert all(name in hosts for name in among)
    assert not any(name in hosts for name in not_among)
    assert None not in hosts


def test_names_are_shown_as_they_were_listed() -> None:
    assert str(HostNames(["localhost", "*.example.com", "*"])) == "*, *.example.com, localhost"


def test_only_a_name_of_the_public_dns_can_be_led_here_by_a_stranger() -> None:
    inner = ("localhost", "prometheus", "10.0.0.5", "[::1]", "[::ffff:1.2.3.4]", "")
    assert all(map(is_inner, inner))
    assert not any(map(is_inner, ("evil.example", "127.0.0.1.evil.example", "1.2.3", "1.2.3.4.5")))
