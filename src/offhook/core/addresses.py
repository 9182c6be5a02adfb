"""Addresses of people and numbers: `+15551230001`, `whatsapp:+15551230001`, `rcs:...`."""


def channel_of(address: str) -> str:
    """Return the channel of an address: `whatsapp` for `whatsapp:+1...`, `sms` without prefix."""
    prefix, colon, _ = address.partition(":")
    return prefix.lower() if colon else "sms"


def folded(address: str) -> str:
    """Return an address in comparable form: the channel's prefix in lower case."""
    prefix, colon, rest = address.partition(":")
    return f"{prefix.lower()}:{rest}" if colon else address
