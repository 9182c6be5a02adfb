"""Build the documentation as a site, and check that its links lead somewhere.

    make site       # into build/site/html

The pages are the README and those of docs/, which are also to be read as they are; their order is
that of docs/README.md. What else of the repository they link to is added where it is for users
(examples, the changelog), linked where the repository is shown (--source), or only named.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urlsplit

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
INDEX: Final = DOCS / "README.md"
_CHANGELOG: Final = ROOT / "CHANGELOG.md"
_BUILD: Final = ROOT / "build" / "site"

# A link or a picture: its text and its target.
_LINK: Final = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE: Final = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)

Nav = list[dict[str, Any]]


def navigation(index: str) -> Nav:
    """Return the navigation that a page of headings, bold groups and lists of links describes."""
    tabs: Nav = [{"Start": ["index.md", "contents.md"]}]
    group: list[Any] = []
    for line in index.splitlines():
        if line.startswith("## "):
            group = []
            tabs.append({line[3:]: group})
        elif line.startswith("**"):
            inner: list[Any] = []
            tabs[-1][next(iter(tabs[-1]))].append({line.strip("*"): inner})
            group = inner
        elif found := re.match(r"- \[([^\]]+)\]\(([^)]+)\)", line):
            group.append({found[1]: found[2]})
    return tabs


class Site:
    """The site's sources, made from the repository.

    Args:
        folder: where to build; it is emptied.
        source: the URL under which the repository's files are shown; empty for none.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self._folder = folder
        self._source = source
        self._places = {ROOT / "README.md": "index.md", _CHANGELOG: "changelog.md"}
        self._places |= {page: page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
        self._places[INDEX] = "contents.md"
        self._unwritten = list(self._places)

    def write(self) -> None:
        """Write the pages and the configuration."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(DOCS / "pictures", self._folder / "docs" / "pictures")
        while self._unwritten:
            file = self._unwritten.pop()
            path = self._folder / "docs" / self._places[file]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._page(file) if file.suffix == ".md" else _code(file))
        settings = (ROOT / "zensical.toml").read_text()
        (self._folder / "zensical.toml").write_text(
            settings.replace("nav = []", f"nav = {_toml(self._navigation())}")
        )

    def _navigation(self) -> Nav:
        tabs = navigation(INDEX.read_text())
        placed = sorted(self._places.values())
        tabs.append({"Decisions": [place for place in placed if place.startswith("decisions/")]})
        tabs.append({"Examples": [place for place in placed if place.startswith("examples/")]})
        return [*tabs, {"Changelog": "changelog.md"}]

    def _page(self, page: Path) -> str:
        parts = _FENCE.split(page.read_text())
        parts[::2] = [_LINK.sub(lambda found: self._link(found, page), one) for one in parts[::2]]
        return "".join(parts)

    def _link(self, found: re.Match[str], page: Path) -> str:
        """Return a link of a page as the site has it."""
        shown, target = found.groups()
        path, fragment = urldefrag(target)
        if urlsplit(target).scheme or not path:
            return found[0]
        file = (page.parent / unquote(path)).resolve()
        there = self._place(file)
        if there is None:
            inside = file.relative_to(ROOT).as_posix()
            return f"[{shown}]({self._source}/{inside})" if self._source else shown
        there = os.path.relpath(there, Path(self._places[page]).parent)
        return f"[{shown}]({there}{'#' if fragment else ''}{fragment})"

    def _place(self, file: Path) -> str | None:
        """Return where the site has a file; None if it has none."""
        if file.is_dir() and file.is_relative_to(DOCS):
            file = min(file.glob("*.md"))
        elif file.parent == ROOT / "examples" and file not in self._places:
            name = "index" if file.suffix == ".md" else file.stem
            self._places[file] = f"examples/{name}.md"
            self._unwritten.append(file)
        elif file.parent == DOCS / "pictures":
            return f"pictures/{file.name}"
        return self._places.get(file)


def _code(file: Path) -> str:
    return f"# {file.name}\n\n```{file.suffix[1:]}\n{file.read_text().rstrip()}\n```\n"


def _toml(value: object) -> str:
    """Return lists, tables with one key and texts as TOML."""
    match value:
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{json.dumps(k)} = {_toml(v)}' for k, v in value.items())}}}"
    return json.dumps(value)


class _Page(HTMLParser):
    """The links of a page, and what in it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag has."""
        given = dict(attrs)
        if tag in {"a", "link", "img", "script"}:
            self.links += [link for name in ("href", "src") if (link := given.get(name))]
        self.ids |= {name for name in (given.get("id"), given.get("name")) if name}


def broken(folder: Path) -> Iterator[str]:
    """Yield the links of a built site that lead nowhere, or are fetched from elsewhere."""
    pages = {path.resolve(): _Page(path.read_text()) for path in folder.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            target, fragment = urldefrag(link)
            if path.name == "404.html" or urlsplit(link).scheme in {"http", "https", "mailto"}:
                continue
            file = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.exists():
                yield f"{path.relative_to(folder)}: {link}: there is no such file"
            elif fragment and file in pages and unquote(fragment) not in pages[file].ids:
                yield f"{path.relative_to(folder)}: {link}: there is no such heading"


def main() -> None:
    """Build, and check what was built."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source",
        default="",
        metavar="URL",
        help="of the repository's files, such as .../blob/main",
    )
    given = parser.parse_args()
    Site(_BUILD, given.source.rstrip("/")).write()
    program = ROOT / ".venv-site" / "bin" / "zensical"
    done = subprocess.run([program, "build", "--clean", "--strict"], cwd=_BUILD, check=False)
    if done.returncode:
        sys.exit("the site was not built, for the reasons above")
    html = _BUILD / "html"
    faults = sorted(broken(html))
    if faults:
        sys.exit("\n".join([*faults, f"{len(faults)} links of the site lead nowhere"]))
    print(f"{sum(1 for _ in html.rglob('*.html'))} pages: {html / 'index.html'}")


if __name__ == "__main__":
    main()
