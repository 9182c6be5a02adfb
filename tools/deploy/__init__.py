"""What others run beside offhook, and what deploys a bot: `deploy/`.

`make docs` makes it anew; a test says when that is due.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from offhook.cli.new import files
from tools.deploy import dashboard, rules

DEPLOY: Final = Path(__file__).parents[2] / "deploy"

METRICS_FILES: Final[Mapping[Path, Callable[[], str]]] = {
    DEPLOY / "prometheus" / "offhook.rules.yml": rules.text,
    DEPLOY / "grafana" / "offhook.json": dashboard.text,
}
"""What makes each file that queries metrics."""

BOT: Final = DEPLOY / "mybot"
"""What `offhook new mybot` writes."""


def made() -> dict[Path, str]:
    """Return the text of each file."""
    texts = {path: make() for path, make in METRICS_FILES.items()}
    return texts | {BOT / path: text for path, text in files(BOT.name).items()}
