"""Imported by every Python at its start that finds it: says soon what a store that opens waits for.

`MOMENT` is read by what is imported later.
"""

from offhook.stores import availability

vars(availability)["MOMENT"] = 0.3
