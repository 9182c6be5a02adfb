"""`/dashboard`: whether people are being answered, and the inbox, to mend what isn't."""

from offhook.admin.dashboard import PATH, Dashboard

__all__ = ["PATH", "Dashboard"]
