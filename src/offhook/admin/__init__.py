"""`/dashboard`: the system's status, and an inbox to replay or discard messages."""

from offhook.admin.dashboard import PATH, Dashboard

__all__ = ["PATH", "Dashboard"]
