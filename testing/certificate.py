"""A certificate that no authority has signed."""

import subprocess
from pathlib import Path


def certificate(directory: Path, host: str = "bot.example.com") -> Path:
    """Return a file with a new key and its certificate, for a host name."""
    pem = directory / "tls.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", pem, "-out", directory / "crt.pem", "-days", "2",
            "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + (directory / "crt.pem").read_text())
    return pem
