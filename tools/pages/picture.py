"""`python -m tools.pages.picture`: the README's picture, from a run of `offhook demo --once`."""

import io
import os
import re
import subprocess
import sys
from typing import Final

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from tools.pages import DOCS

PICTURE: Final = DOCS / "pictures" / "demo.svg"
_WIDTH: Final = 98  # columns; no line of the demo is longer
_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> None:
    """Run the demo, and draw what it prints."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(_demo()), "utf-8")


def draw(printed: str) -> str:
    """Return as SVG what a terminal would show. It loads nothing from anywhere."""
    screen = Console(record=True, width=_WIDTH, file=io.StringIO())
    screen.print(Text.from_ansi(printed.strip("\n")), soft_wrap=True)
    svg = screen.export_svg(title="offhook demo --once", theme=DIMMED_MONOKAI)
    # rich names a font of a CDN; any monospaced one will do.
    return "\n".join(line.rstrip() for line in _FONT_FACE.sub("", svg).splitlines()) + "\n"


def _demo() -> str:
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(_WIDTH)}
    command = [sys.executable, "-m", "offhook", "demo", "--once"]
    return subprocess.run(  # noqa: S603 - our own command
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    main()
