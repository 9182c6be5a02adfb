"""The parts of the documentation that are made from the code.

A page is written by hand; what the code knows better stands between `<!-- made:name -->` and
`<!-- end:name -->`, and is made anew by `make docs` (`python -m tools.pages`). A test says when
that is due.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.pages import (
    alerts,
    api,
    architecture,
    commands,
    lifecycle,
    metrics,
    performance,
    project,
)

DOCS: Final = Path(__file__).parents[2] / "docs"

SECTIONS: Final[Mapping[str, Callable[[], str]]] = {
    "alerts": alerts.table,
    "architecture-packages": architecture.packages,
    "architecture-picture": architecture.picture,
    "causes": api.causes,
    "commands": commands.section,
    "error-tree": api.error_tree,
    "events": api.events,
    "message-diagram": lifecycle.message_diagram,
    "message-table": lifecycle.message_table,
    "metric-buckets": metrics.buckets,
    "metrics-counted": metrics.counted,
    "metrics-measured": metrics.measured,
    "operator-diagram": lifecycle.operator_diagram,
    "performance-comparison": performance.comparison,
    "performance-machine": performance.machine,
    "performance-soak": performance.soak,
    "performance-targets": performance.targets,
    "performance-users": performance.users,
    "project-compose": project.compose,
    "project-dockerfile": project.dockerfile,
    "project-nginx": project.nginx,
    "project-test": project.test,
    "project-unit": project.unit,
    "python-api": api.public_names,
    "python-values": api.values,
    "send-diagram": lifecycle.send_diagram,
    "send-operator-diagram": lifecycle.send_operator_diagram,
    "send-table": lifecycle.send_table,
    "simulator-api": api.simulator,
    "topics": api.topics,
}
"""What makes each section, by its name."""

_SECTION: Final = re.compile(
    r"(?P<begin><!-- made:(?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end:(?P=name) -->)", re.DOTALL
)


def pages() -> tuple[Path, ...]:
    """Return all pages of the documentation."""
    return tuple(sorted(DOCS.rglob("*.md")))


def sections_of(text: str) -> tuple[str, ...]:
    """Return the names of the sections that a page has."""
    return tuple(match["name"] for match in _SECTION.finditer(text))


def fill(text: str) -> str:
    """Return a page with its sections made anew.

    Raises:
        KeyError: a section that nothing makes.
    """
    return _SECTION.sub(
        lambda match: f"{match['begin']}{SECTIONS[match['name']]()}\n{match['end']}", text
    )
