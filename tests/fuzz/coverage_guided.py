"""Coverage-guided fuzzing of what reads untrusted bytes, with atheris where it is installed.

    .venv/bin/python -m pip install 'atheris>=3'    (a wheel for Linux, Python 3.11 to 3.13)
    .venv/bin/python -m tests.fuzz.coverage_guided -runs=200000

Arguments are libFuzzer's. It is no part of `make test`: there is not a wheel for every Python.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

MISSING = "atheris is not installed: coverage-guided fuzzing is left out (pip install 'atheris>=3')"


def main() -> None:
    if find_spec("atheris") is None:
        print(MISSING)
        return
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["offhook.core"]):
        from offhook.core.form_integrity import flaw  # noqa: PLC0415
        from offhook.core.forms import FormError, decode_form  # noqa: PLC0415
        from offhook.core.keys import Kind, dedupe_key, lane_of  # noqa: PLC0415
        from offhook.core.messages import InboundMessage, StatusUpdate  # noqa: PLC0415
        from offhook.core.requests import Request  # noqa: PLC0415
        from offhook.core.signature import verify  # noqa: PLC0415
        from offhook.core.signature_diagnosis import explain_mismatch  # noqa: PLC0415

    def one(data: bytes) -> None:
        """Read bytes in all the ways in which they are read. Raises for none."""
        given: Any = atheris.FuzzedDataProvider(data)
        url, content_type = given.ConsumeUnicode(80), given.ConsumeUnicode(60)
        signature = given.ConsumeUnicode(30)
        body = given.ConsumeBytes(atheris.ALL_REMAINING)
        for method in ("GET", "POST"):
            request = Request(
                Kind.MESSAGE, method, url, "", b"", content_type, signature, body, 0.0
            )
            verify(request, ("token",))
        try:
            form = decode_form(body)
        except FormError:
            return
        raw = dict(form.first)
        for kind in (Kind.MESSAGE, Kind.STATUS):
            for posted in (True, False):
                flaw(kind, form, form.signed_text(), posted=posted)
            dedupe_key(kind, raw)
            lane_of(kind, raw)
        InboundMessage.parse(raw, attempt=1)
        StatusUpdate.parse(raw, attempt=1)
        request = Request(
            Kind.MESSAGE, "POST", url, content_type, body, None, signature, body, 0.0,
            lambda: (signature, url),
        )  # fmt: skip
        explain_mismatch(request, ("token",), given=False)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
