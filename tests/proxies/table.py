"""The matrix as a table, a line for each set-up: `make proxies`."""

import asyncio
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.proxies.matrix import Case, Expected, cases, expected, fits, line

_COLUMNS = ("how the bot knows its URL", "forwarding headers", "Twilio calls", "prefix")


def table(found: dict[Case, Expected]) -> Table:
    """Return a line for each set-up: over all hosts, ports and queries, with and without slash."""
    rows: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for case in found:
        rows[case.setting, case.forwarding, case.scheme, case.prefix.name.lower()].append(case)
    drawn = Table(title=f"{len(found):,} webhooks through nginx")
    for name in (*_COLUMNS, "answers", "told in the log", "as expected"):
        drawn.add_column(name)
    for row, among in rows.items():
        answers = Counter(found[case].status for case in among)
        right = sum(fits(found[case], expected(case)) for case in among)
        drawn.add_row(
            *row,
            ", ".join(f"{count} x {status}" for status, count in sorted(answers.items())),
            _told({found[case].told for case in among}),
            f"{right} of {len(among)}",
        )
    return drawn


def _told(texts: set[str]) -> str:
    text = max(texts)
    if not text:
        return ""
    if "OFFHOOK_ALLOWED_HOSTS" in text:
        return "which URL to set, or host to list"
    if "OFFHOOK_PUBLIC_URL=" in text:
        return "which URL to set"
    return "to set the URL" if text.endswith("to it") else "that none fits"


async def _main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        async with line(Path(directory)) as bot:
            found = {case: await bot.try_out(case) for case in cases()}
    Console(width=140).print(table(found))
    wrong = [case for case in found if not fits(found[case], expected(case))]
    for case in wrong:
        print(case, found[case], expected(case), sep="\n  ")  # noqa: T201 - a script's output
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
