"""Moments as people write them: `10m`, `2h`, `2026-11-24`, `2026-11-24T12:00:00+01:00`."""

import re
import time
from datetime import datetime
from typing import Final

import typer

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment(text: str) -> float:
    """Return the seconds since the epoch that a text means; without a zone, in the local one.

    Raises:
        typer.BadParameter: it means nothing.
    """
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text.strip()):
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r}: write 10m, 2h, 3d or 2026-11-24T12:00") from error
