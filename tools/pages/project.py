"""What `offhook new` writes, as blocks of code on a page."""

from offhook.cli.new import files

_FILES = files("bot")


def unit() -> str:
    """Return the systemd unit."""
    return _block("ini", _FILES["deploy/bot.service"])


def nginx() -> str:
    """Return the configuration of nginx."""
    return _block("nginx", _FILES["deploy/nginx.conf"])


def dockerfile() -> str:
    """Return the Dockerfile."""
    return _block("dockerfile", _FILES["Dockerfile"])


def compose() -> str:
    """Return the compose file."""
    return _block("yaml", _FILES["compose.yaml"])


def test() -> str:
    """Return the test of the bot."""
    return _block("python", "# test_bot.py\n" + _FILES["test_bot.py"])


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}```"
