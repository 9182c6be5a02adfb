"""The documentation as tests see it: pages, their links, and their blocks of code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

PAGES = (ROOT / "README.md", ROOT / "examples" / "README.md", *sorted(DOCS.rglob("*.md")))

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code on a page."""

    page: Path
    number: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.number}"


def blocks(*pages: Path) -> list[Block]:
    return [
        Block(page, number, match[1], match[2])
        for page in pages
        for number, match in enumerate(_BLOCK.finditer(page.read_text()))
    ]


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return _BLOCK.sub("", page.read_text())


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Return the fragments that GitHub gives to a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(prose(page))
    }


def table(page: Path, heading: str) -> dict[str, list[str]]:
    """Return the rows of all tables whose first column has this heading, by the name in it."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells[0] == heading:
            inside = True
        elif inside and not cells[0].startswith("---"):
            name = cells[0].strip("`")
            assert name not in rows, f"{name} is documented twice"
            rows[name] = cells[1:]
    return rows
