from pathlib import Path

import pytest

from offhook.errors import SettingsError
from offhook.settings import Settings, SignaturePolicy


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "OFFHOOK_STORE", "OFFHOOK_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)


def load(**given: object) -> Settings:
    return Settings.load(env_file=None, **given)


def test_defaults_need_nothing() -> None:
    settings = load()
    assert settings.store == "sqlite:///offhook.db"
    assert settings.signature is SignaturePolicy.REQUIRED
    assert settings.loop_limit == (20, 60.0)
    assert settings.auth_tokens == ()


def test_the_environment_is_read_and_keywords_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFHOOK_PORT", "1234")
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "new, old")
    monkeypatch.setenv("OFFHOOK_LOOP_LIMIT", "5/hour")
    assert load().port == 1234
    assert load().auth_tokens == ("new", "old")
    assert load().loop_limit == (5, 3600.0)
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
        ("port", "eighty"),
        ("port", 99999),
        ("store", "mysql://x"),
        ("signature", "maybe"),
        ("loop_limit", "many"),
        ("handler_timeout", 0),
        ("max_attempts", 0),
        ("mount_path", "hooks"),
        ("log_level", "loud"),
    ],
)
def test_a_wrong_value_is_named_by_its_variable(setting: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"^OFFHOOK_{setting.upper()}"):
        load(**{setting: value})


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
    settings = load(auth_token="geheim1,geheim2", api_key_secret="geheim3")
    assert "geheim" not in repr(settings)
    assert "geheim" not in str(settings.model_dump())
    with pytest.raises(SettingsError) as caught:
        load(auth_token="geheim1", port="geheim2")
    assert "geheim" not in str(caught.value)


def test_a_trailing_slash_is_left_out() -> None:
    assert load(public_url="https://bot.example.com/twilio/").public_url == (
        "https://bot.example.com/twilio"
    )
