"""Imported at the start of each Python that finds it on its path: shortens a delay.

A store that opens reports sooner what it waits for. `MOMENT` is read by what is imported later.
"""

from offhook.stores import availability

vars(availability)["MOMENT"] = 0.3
