"""Developing a bot: a simulated Twilio, a phone in the browser, reload on change."""
