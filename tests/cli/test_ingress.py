"""A real `offhook ingress`, met from outside."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import Home, Process
from tests.web.helpers import ACCOUNT, PUBLIC, TOKEN


class Ingress:
    """A running one.

    Attributes:
        port: where it listens.
        pid: of the process that answers.
    """

    def __init__(self, process: Process) -> None:
        process.wait_for("listening on")
        (port,) = re.findall(r"listening on http://127\.0\.0\.1:(\d+)", process.output)
        (self.pid,) = process.children("roles ingress")
        self.port = int(port)
        self.process = process


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingress]:
    path = tmp_path_factory.mktemp("ingress")
    home = Home(
        path,
        TWILIO_ACCOUNT_SID=ACCOUNT,
        TWILIO_AUTH_TOKEN=TOKEN,
        OFFHOOK_PUBLIC_URL=PUBLIC,
        OFFHOOK_MOUNT_PATH="/hooks",
        OFFHOOK_STORE=f"sqlite:///{path}/offhook.db",
    )
    with home.start("ingress", "bot:app", "--port", "0") as process:
        yield Ingress(process)


def test_the_ready_line_has_the_whole_url_that_twilio_is_given(ingress: Ingress) -> None:
    assert f" for {PUBLIC}/hooks/twilio/messages" in ingress.process.output


def test_a_route_is_spelled_in_one_place() -> None:
    code = Path(__file__).parents[2] / "src/offhook"
    literal = re.compile(r"""["/}]twilio/(messages|status)["'.]""")
    spelled = [
        str(file.relative_to(code))
        for file in code.rglob("*.py")
        for _ in literal.findall(file.read_text())
    ]
    assert spelled == ["core/urls.py"] * 2
