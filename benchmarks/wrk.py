"""`wrk`, for servers that are faster than our own generator.

It sends one request over and over, so it is for servers that keep nothing: to those that do, all
but the first are repeats.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from offhook.bench.requests import SignedRequest
from offhook.bench.target import Target


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def rate(target: Target, shot: SignedRequest, seconds: float, connections: int = 64) -> float:
    """Return how many requests a second wrk gets answered."""
    head, _, body = shot.data.decode().partition("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    lines = [f"wrk.headers[{name!r}] = {value!r}" for name, value in headers.items()]
    script = "\n".join(['wrk.method = "POST"', f"wrk.body = {body!r}", *lines])
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s",
             str(Path(file.name)), target.url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(f"wrk says: {done.stdout}")
    return float(found[1])
