"""What others run beside offhook, made from its rules and metrics: `deploy/`.

`make docs` makes it anew; a test says when that is due.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.deploy import dashboard, rules

DEPLOY: Final = Path(__file__).parents[2] / "deploy"

FILES: Final[Mapping[Path, Callable[[], str]]] = {
    DEPLOY / "prometheus" / "offhook.rules.yml": rules.text,
    DEPLOY / "grafana" / "offhook.json": dashboard.text,
}
"""What makes each file."""
