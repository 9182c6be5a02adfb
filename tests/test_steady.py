"""The script that runs the tests under load names each test that failed."""

from pathlib import Path

import pytest

from tools.steady import report, run

TESTS = """
def test_that_passes():
    pass

def test_that_fails():
    assert False, "a reason - with a dash"
"""


def test_a_run_that_fails_names_its_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    file = tmp_path / "test_made_up.py"
    file.write_text(TESTS)
    arguments = (f"--rootdir={tmp_path}", "-c/dev/null", "-rfE", str(file))
    failed, passed = run(arguments), run((*arguments, "-k", "passes"))
    assert failed.status == 1
    [test] = failed.failed
    assert test.endswith("test_made_up.py::test_that_fails")
    assert failed.summary.startswith("1 failed, 1 passed in")
    assert (passed.status, passed.failed) == (0, ())
    assert report([failed, passed]).splitlines() == [
        f"1 x {test}",
        "1 of 2 passed",
    ]
