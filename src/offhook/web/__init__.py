"""Parts shared by all HTTP endpoints."""
