"""What the page on JSON output says of an object, held against one that a command has printed."""

from collections.abc import Mapping
from typing import Any

from tests.docs.pages import DOCS, table

_PAGE = DOCS / "reference" / "json.md"


def assert_documented(name: str, shown: Mapping[str, Any], *only: str) -> None:
    """Check that an object has the fields of a table, no more and no fewer.

    Args:
        name: as in the heading of the table: "field of ...".
        shown: the object.
        only: what applies of that for which some fields are there only.
    """
    rows = table(_PAGE, f"field of {name}")
    wanted = {field for field, (when, meaning) in rows.items() if not when or when in only}
    assert shown.keys() == wanted, name
