"""The pages hang together, and their made parts are made of the code as it is."""

import re
from pathlib import Path

import pytest

import offhook
from offhook.settings import Settings, variable
from tests.docs.pages import DOCS, PAGES, ROOT, anchors, links, prose
from tools.pages import SECTIONS, fill, pages, sections_of


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_what_is_made_from_code_is_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert fill(text) == text, "run `make docs`"


def test_all_that_is_made_is_on_a_page_once() -> None:
    found = [name for page in pages() for name in sections_of(page.read_text())]
    assert sorted(found) == sorted(SECTIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:tests|src|examples|benchmarks|docs|tools)/[\w./-]*)`", prose(page))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    todo = {DOCS / "README.md"}
    while todo:
        page = todo.pop()
        reached.add(page)
        linked = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        todo |= {page for page in linked if page.suffix == ".md"} - reached
    # Decisions are read as a list: the directory is linked.
    assert set(DOCS.rglob("*.md")) - reached <= set((DOCS / "decisions").iterdir())


def test_every_picture_is_shown_or_made_by_a_command() -> None:
    shown = {link for page in PAGES for link in links(page) if link.endswith((".png", ".svg"))}
    assert "docs/pictures/demo.svg" in shown
    assert "docs/pictures/phone.png" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_variable_is_invented(page: Path) -> None:
    known = {variable(name) for name in Settings.defaults()}
    # Ends in a letter, so that "OFFHOOK_SIGNATURE=off" and "OFFHOOK_*" are read right.
    used = set(re.findall(r"\b(?:OFFHOOK|TWILIO)_[A-Z_]*[A-Z]\b", page.read_text()))
    decided_later = page.parent.name == "decisions"  # a decision speaks of its time
    assert decided_later or used <= known, used - known


def test_all_public_names_are_on_the_python_page() -> None:
    text = prose(DOCS / "reference" / "python.md")
    missing = [name for name in offhook.__all__ if f"### `{name}`" not in text]
    assert not missing


def test_pages_and_the_changelog_name_the_version() -> None:
    wheels = [re.findall(r"offhook-(\d[\w.]*)-py3", page.read_text()) for page in PAGES]
    assert {version for named in wheels for version in named} == {offhook.__version__}
    released = re.findall(
        r"^## \[(\d[\w.]*)\] - 20\d\d-", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0] == offhook.__version__
