"""Answering webhooks: read, validate, store, acknowledge."""
