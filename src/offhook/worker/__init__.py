"""The worker: claim messages, run their handlers, settle them, send the replies."""
