"""A real nginx that terminates TLS, set up in the ways that people set it up."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from testing.certificate import certificate
from testing.ports import free_port

_PATIENCE = 60.0  # seconds
_MISSING = "nginx is not installed: apt-get install nginx-light (it need not run as a service)"


class Forwarding(StrEnum):
    """What a proxy says of the request it passes on."""

    SETS = "sets them"
    NONE = "sets none"  # as in most examples; the upstream sees itself as the host
    FORGED = "passes forged ones on"  # the same, and a client makes them up


_HEADERS = """
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
"""

_SERVER = """
  server {{
    listen 127.0.0.1:{port}{ssl};
    {headers}
    location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    location /cut/ {{
      {headers}
      {prefix}
      proxy_pass http://127.0.0.1:{upstream}/;
    }}
  }}
"""

_CONFIG = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
events {{}}
http {{
  access_log off;
  keepalive_requests 100000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  ssl_certificate {directory}/tls.pem;
  ssl_certificate_key {directory}/tls.pem;
  proxy_http_version 1.1;
  {servers}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """Where it listens: by scheme, and by what it says of a request."""

    ports: dict[tuple[str, Forwarding], int]
    certificate: Path


@contextmanager
def nginx(directory: Path, upstream: int) -> Iterator[Nginx]:
    """Run nginx in front of a port of this machine, within the context.

    `/cut/` is taken away from the path; everything else is passed on as it came.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise RuntimeError(_MISSING)
    pem = certificate(directory)
    ports = {(scheme, kind): free_port() for scheme in ("https", "http") for kind in Forwarding}
    servers = "".join(_server(*key, port, upstream) for key, port in ports.items())
    config = directory / "nginx.conf"
    config.write_text(_CONFIG.format(directory=directory, servers=servers))
    log = directory / "error.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [program, "-p", directory, "-c", config, "-e", "stderr"], stderr=errors
        ) as process,
    ):
        try:
            for port in ports.values():
                _await(port, process, log)
            yield Nginx(ports, pem)
        finally:
            process.terminate()


def _server(scheme: str, kind: Forwarding, port: int, upstream: int) -> str:
    says = kind is Forwarding.SETS
    return _SERVER.format(
        port=port,
        ssl=" ssl" if scheme == "https" else "",
        headers=_HEADERS if says else "",
        prefix="proxy_set_header X-Forwarded-Prefix /cut;" if says else "",
        upstream=upstream,
    )


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"nginx did not start:\n{log.read_text()}") from None
            time.sleep(0.01)  # nothing tells when it listens
        else:
            return
