"""The documentation as a site: all pages are in its navigation, and its links lead somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, prose
from tools.site import Site, broken, navigation


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    Site(folder, "").write()
    return folder


def leaves(nav: Any) -> list[str]:
    match nav:
        case str():
            return [nav]
        case dict():
            return [leaf for inner in nav.values() for leaf in leaves(inner)]
    return [leaf for inner in nav for leaf in leaves(inner)]


def test_every_page_is_in_the_navigation(made: Path) -> None:
    there = {path.relative_to(made / "docs").as_posix() for path in made.glob("docs/**/*.md")}
    named = set(re.findall(r'"([^"]+\.md)"', (made / "zensical.toml").read_text()))
    assert named == there
    assert len(there) >= len(PAGES)


def test_the_navigation_has_the_order_and_the_groups_of_the_index() -> None:
    tabs = navigation(
        "# Pages\n\n## Guides\n\n**Write**\n\n- [One](a.md): first\n- [Two](b.md)\n\n"
        "## Reference\n\n- [Three](c.md)\n"
    )
    assert tabs[1:] == [
        {"Guides": [{"Write": [{"One": "a.md"}, {"Two": "b.md"}]}]},
        {"Reference": [{"Three": "c.md"}]},
    ]
    assert "tutorial/first-bot.md" in leaves(navigation((DOCS / "README.md").read_text()))


def test_links_out_of_the_documentation(made: Path, tmp_path: Path) -> None:
    home = (made / "docs" / "index.md").read_text()
    assert "[Examples](examples/index.md)" in home
    assert "[Changelog](changelog.md)" in home
    assert "(docs/" not in home
    examples = (made / "docs" / "examples" / "index.md").read_text()
    linked = re.findall(r"\]\((\w+\.md)\)", examples)
    assert linked
    for name in linked:
        assert (made / "docs" / "examples" / name).read_text().count("```") == 2  # the code
    architecture = "docs/explanation/architecture.md"
    assert "](../../src/" in (ROOT / architecture).read_text()
    assert "/src/offhook" not in re.sub(r"`[^`]*`", "", (made / architecture).read_text())
    Site(tmp_path / "other", "https://code.example/main").write()
    assert (
        "](https://code.example/main/src/offhook" in (tmp_path / "other" / architecture).read_text()
    )


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#there">1</a><a href="https://x.example/">')
    (tmp_path / "b.html").write_text('<h1 id="there"><a href="a.html">1</a><a href="#there">2</a>')
    assert not list(broken(tmp_path))
    (tmp_path / "a.html").write_text('<a href="b.html#gone"><a href="c.html"><img src="d.png">')
    assert sorted(broken(tmp_path)) == [
        "a.html: b.html#gone: there is no such heading",
        "a.html: c.html: there is no such file",
        "a.html: d.png: there is no such file",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lists_and_tables_are_ones_for_every_markdown(page: Path) -> None:
    """GitHub begins a list right below a text; the site's Markdown wants an empty line first."""
    assert not re.findall(r"^(?![-|#\d <]).+\n(?:- |1\. |\|).*$", prose(page), re.MULTILINE)
