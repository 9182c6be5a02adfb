"""The worker: claims messages, runs their handlers, settles them."""

from offhook.worker.service import Worker

__all__ = ["Worker"]
