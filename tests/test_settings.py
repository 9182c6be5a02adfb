from dataclasses import asdict
from pathlib import Path

import pytest

from offhook.errors import SettingsError
from offhook.settings import Settings, SignaturePolicy, variable


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "OFFHOOK_STORE", "OFFHOOK_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)


def test_another_process_can_be_given_them_whole() -> None:
    settings = Settings.load(
        env_file=None, auth_token="a,b", trusted_proxies="10.0.0.1", loop_limit="3/hour",
        sender_limit="", signature="off", max_backlog=5, keep_bodies=False, retention="inf",
        dedupe_retention="inf",
    )  # fmt: skip
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("address", ["8001", ":8001", "::1:8001", "host:99999", "http://host:1"])
def test_an_admin_address_has_a_host_and_a_port(address: str) -> None:
    with pytest.raises(SettingsError, match="OFFHOOK_ADMIN_BIND"):
        Settings.load(env_file=None, admin_bind=address)


def test_alerts_are_posted_to_a_url_and_never_unsigned() -> None:
    with pytest.raises(SettingsError, match="OFFHOOK_ALERT_SECRET: must be set"):
        Settings.load(env_file=None, alert_webhook="https://example.com/alerts")
    with pytest.raises(SettingsError, match="OFFHOOK_ALERT_WEBHOOK: must be a URL") as refused:
        Settings.load(env_file=None, alert_webhook="example.com/hidden", alert_secret="s")
    assert "hidden" not in str(refused.value)
    for url in ("http://host:abc/", "http://[::1/", "http://host:99999/", "http:///a", "ftp://a"):
        with pytest.raises(SettingsError, match="OFFHOOK_ALERT_WEBHOOK: must be a URL"):
            Settings.load(env_file=None, alert_webhook=url, alert_secret="s")
    given = {"alert_webhook": "https://example.com/hidden", "alert_secret": "hidden"}
    assert "hidden" not in repr(Settings.load(env_file=None, **given))


def test_the_admin_address_is_read() -> None:
    assert Settings.load(env_file=None).admin_address == ("127.0.0.1", 8001)
    assert Settings.load(env_file=None, admin_bind="[::1]:0").admin_address == ("::1", 0)
    assert Settings.load(env_file=None, admin_bind="").admin_address is None


def load(**given: object) -> Settings:
    return Settings.load(env_file=None, **given)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("https://bot.example.com/twilio/messages", "https://bot.example.com"),
        ("https://bot.example.com/twilio/status/", "https://bot.example.com"),
        ("https://bot.example.com//Twilio/Messages", "https://bot.example.com"),
        ("https://bot.example.com:8443/a/twilio/messages#rc=5", "https://bot.example.com:8443/a"),
        ("https://bot.example.com/twilio/messages?a=1", "https://bot.example.com"),
        ("https://bot.example.com/#rc=5", "https://bot.example.com"),
        ("https://user:geheim@bot.example.com/twilio/messages", "https://bot.example.com"),
        ("https://user:geheim@bot.example.com", "https://bot.example.com"),
    ],
)
def test_a_public_url_that_is_no_base_is_refused_with_the_right_value(
    given: str, right: str
) -> None:
    with pytest.raises(SettingsError, match=r"^OFFHOOK_PUBLIC_URL: must ") as refused:
        load(public_url=given)
    assert str(refused.value).endswith(f": {right}")
    assert load(public_url=right).public_url == right


@pytest.mark.parametrize("url", ["https://bot.example.com/twilio", "https://a.b/messages"])
def test_a_path_that_only_looks_like_ours_is_taken(url: str) -> None:
    assert load(public_url=url).public_url == url


@pytest.mark.parametrize(
    "sid", ["XY1", "AC1", "SK" + "0" * 32, "AC" + "g" * 32, "AC" + "F" * 32, "AC" + "0" * 33]
)
def test_a_malformed_account_sid_is_refused(sid: str) -> None:
    with pytest.raises(SettingsError, match=r"^TWILIO_ACCOUNT_SID: must be AC and 32 hex"):
        load(account_sid=sid)


def test_half_an_api_key_is_refused() -> None:
    key = "SK" + "0" * 32
    with pytest.raises(SettingsError, match=r"^TWILIO_API_KEY_SECRET: must be set"):
        load(api_key=key)
    with pytest.raises(SettingsError, match=r"^TWILIO_API_KEY: must be SK and 32 hex"):
        load(api_key="AC" + "0" * 32, api_key_secret="s")
    assert load(api_key=key, api_key_secret="s").api_key == key


def test_defaults_need_nothing() -> None:
    settings = load()
    assert settings.store.get_secret_value() == "sqlite:///offhook.db"
    assert settings.signature is SignaturePolicy.REQUIRED
    assert settings.loop_limit == (20, 60.0)
    assert settings.sender_limit is None
    assert settings.auth_tokens == ()


def test_the_environment_is_read_and_keywords_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFHOOK_PORT", "1234")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "new, old")
    monkeypatch.setenv("OFFHOOK_LOOP_LIMIT", "5/hour")
    assert load().port == 1234
    assert load().auth_tokens == ("new", "old")
    assert load().loop_limit == (5, 3600.0)
    monkeypatch.setenv("OFFHOOK_SENDER_LIMIT", "20/minute")
    assert load().sender_limit == (20, 60.0)
    monkeypatch.setenv("OFFHOOK_SENDER_LIMIT", "")
    assert load().sender_limit is None
    assert load(port=1).port == 1


def test_a_file_is_read_below_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("OFFHOOK_PORT=1\nOFFHOOK_HOST=example\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("OFFHOOK_PORT", "2")
    settings = Settings.load(env_file=file)
    assert (settings.port, settings.host) == (2, "example")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("public_url", "no url"),
        ("public_url", "bot.example.com"),
        ("public_url", "ftp://bot.example.com"),
        ("public_url", "https://bot.example.com:99999"),
        ("public_url", "https://[::1"),
        ("public_url", "https://bot.example.com/?a=1"),
        ("public_url", "https://user:password@bot.example.com"),
        ("public_url", "https://bot.example.com/twilio/messages"),
        ("port", "eighty"),
        ("port", 99999),
        ("store", "mysql://x"),
        ("signature", "maybe"),
        ("on_signature_timeout", "maybe"),
        ("signature_timeout", 0),
        ("cache", "memcached://x"),
        ("cache", "memory://x"),
        ("cache_ttl", 0),
        ("loop_limit", "many"),
        ("sender_limit", "0/minute"),
        ("sender_limit", "20"),
        ("handler_timeout", 0),
        ("max_attempts", 0),
        ("mount_path", "hooks"),
        ("log_level", "loud"),
        ("max_backlog", 0),
        ("retention", 0),
        ("dedupe_retention", 89),
        ("retention", "nan"),
        ("retention", "long"),
        ("port", 80.5),
        ("port", None),
        ("port", ""),
        ("max_attempts", "inf"),
        ("ingresses", 65),
        ("lease", 0.5),
        ("keep_bodies", "maybe"),
        ("keep_bodies", ""),
        ("loop_limit", [1]),
        ("loop_limit", (0, 60.0)),
        ("loop_limit", (1, 0)),
        ("host", 5),
        ("store", None),
        ("allowed_hosts", 5),
        ("opt_out_words", ["stop", 5]),
    ],
)
def test_a_wrong_value_is_named_by_its_variable(setting: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"^OFFHOOK_{setting.upper()}"):
        load(**{setting: value})


def test_a_variable_without_our_prefix_is_another_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PORT": "1234", "HOST": "elsewhere", "STORE": "postgresql://db/b"}.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / ".env"
    file.write_text("LEASE=7\nAPI_KEY=SK1\n")
    assert Settings.load(env_file=file) == Settings()


def test_the_case_of_a_variable_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("offhook_port=1\nOffhook_Host=example\nOFFHOOK_LEASE\n")
    monkeypatch.setenv("Offhook_Port", "2")
    settings = Settings.load(env_file=file)
    assert (settings.port, settings.host, settings.lease) == (2, "example", 30.0)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"OFFHOOK_SENDER=\xff")
    with pytest.raises(SettingsError, match=r"\.env: holds bytes that are not UTF-8$"):
        Settings.load(env_file=tmp_path / ".env")


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("keep_bodies", "False", False),
        ("keep_bodies", "off", False),
        ("log_bodies", "1", True),
        ("log_bodies", "YES", True),
        ("port", " 80 ", 80),
        ("lease", "1", 1.0),
        ("retention", "1e3", 1000.0),
        ("dedupe_retention", "inf", float("inf")),
        ("max_backlog", "5", 5),
        ("max_backlog", "", None),
        ("loop_limit", "", None),
        ("loop_limit", " 3 / day ", (3, 86400.0)),
        ("trusted_proxies", "", ()),
        ("trusted_proxies", "10.0.0.1,, fd00::/8 ", ("10.0.0.1", "fd00::/8")),
        ("signature", "off", SignaturePolicy.OFF),
        ("log_level", "WARNING", "warning"),
    ],
)
def test_a_value_is_read_from_its_text(
    monkeypatch: pytest.MonkeyPatch, setting: str, text: str, value: object
) -> None:
    monkeypatch.setenv("OFFHOOK_DEDUPE_RETENTION", "1000")
    monkeypatch.setenv(variable(setting), text)
    assert getattr(load(), setting) == value


def test_every_default_is_a_value_that_is_taken() -> None:
    assert load(**Settings.defaults()) == Settings()


@pytest.mark.parametrize("name", ["auth_token", "api_key_secret", "store", "failure_notice"])
def test_what_is_no_text_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = "sqlite:///\udcff"
    with pytest.raises(SettingsError, match=f"{name.upper()}: holds bytes that are not UTF-8"):
        load(**{name: halves})
    monkeypatch.setenv(variable(name), halves)  # as a byte 0xff comes
    with pytest.raises(SettingsError, match="not UTF-8"):
        load()


def test_a_list_that_holds_what_is_no_text_is_refused() -> None:
    with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN: holds bytes"):
        load(auth_token=["good", "\udcff"])


def test_keys_outlast_messages_that_are_kept_longer_than_usual() -> None:
    with pytest.raises(SettingsError, match=r"^OFFHOOK_DEDUPE_RETENTION"):
        load(retention=500)
    with pytest.raises(SettingsError, match="OFFHOOK_PARKED_RETENTION"):
        load(parked_retention=500)
    assert load(retention=500, dedupe_retention=500).retention == 500


def test_all_wrong_settings_are_told_in_one_line() -> None:
    with pytest.raises(SettingsError) as caught:
        load(port=-1, public_url="x")
    assert "OFFHOOK_PORT" in str(caught.value)
    assert "OFFHOOK_PUBLIC_URL" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown setting: prot"):
        load(prot=1)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match="TWILIO_ACCOUNT_SID and OFFHOOK_PUBLIC_URL must be"):
        load(auth_token="t").require("account_sid", "auth_token", "public_url")


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    settings = load(
        auth_token="geheim1,geheim2", api_key_secret="geheim3", cache="redis://:geheim4@host/0"
    )
    assert "geheim" not in repr(settings)
    assert "geheim" not in str(asdict(settings))
    with pytest.raises(SettingsError) as caught:
        load(auth_token="geheim1", port="geheim2")
    assert "geheim" not in str(caught.value)


def test_a_trailing_slash_is_left_out() -> None:
    assert load(public_url="https://bot.example.com/twilio/").public_url == (
        "https://bot.example.com/twilio"
    )
