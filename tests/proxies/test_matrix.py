from pathlib import Path

from tests.proxies.matrix import SOMEBODY_ELSES, Case, Expected, cases, expected, fits, line
from tests.proxies.table import table


async def test_every_way_through_a_proxy(tmp_path: Path) -> None:
    found: dict[Case, Expected] = {}

    async with line(tmp_path) as bot:
        for case in cases():
            found[case] = await bot.try_out(case)
    wrong = {
        case: (found[case], expected(case))
        for case in found
        if not fits(found[case], expected(case))
    }
    assert not wrong
    assert table(found).row_count == 5 * 3 * 2 * 3


async def test_no_way_lets_anybody_else_in(tmp_path: Path) -> None:
    async with line(tmp_path) as bot:
        for case in cases():
            if not case.slash and not case.query and not case.port:
                got = await bot.try_out(case, SOMEBODY_ELSES)
                assert (got.status, got.error) == (403, "signature-mismatch"), case
                assert "it is valid for" not in got.told
