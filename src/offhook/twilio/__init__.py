"""Send messages through Twilio's REST API, read its configuration, and simulate it."""
