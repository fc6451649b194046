"""Three notions of load, all fractions of a leaf-spine link's rate: numbers alike that say different things. Pure.

``MeasuredLoad``: what counters say a flow or a link direction carried of late. Flows that hold each other up take less
than they would, and what has just been moved is not in it yet.

``ExpectedLoad``: what a flow can be expected to want while it sends, by the demands announced and its hosts' links; a
flow nobody announced is placed with 0.

``WantedLoad``: what a flow, or all of a link direction's, would take if nothing but the hosts held it back: what is
expected of it, or what it is measured to take where that is more.

Where different ones are put together, as for the least loaded path, the result is a plain number.
"""

from __future__ import annotations

from typing import NewType

MeasuredLoad = NewType("MeasuredLoad", float)
ExpectedLoad = NewType("ExpectedLoad", float)
WantedLoad = NewType("WantedLoad", float)
