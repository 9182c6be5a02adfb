"""`/phone`: a messenger in the browser that writes to the bot through the simulated Twilio."""

from offhook.dev.phone.phone import PATH, Phone

__all__ = ["PATH", "Phone"]
