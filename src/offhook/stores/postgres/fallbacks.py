"""Have templates take the place of texts outside of WhatsApp's window."""

from typing import Final

from offhook.stores.postgres.functions import Function

CLOSE_WINDOWS: Final = Function("close_windows")
FALL_BACK: Final = Function("fall_back")
