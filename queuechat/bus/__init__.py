"""The only door to Redis: typed verbs over functions.lua, one multiplexed pub/sub connection, one error map."""

from queuechat.bus.bus import Bus
from queuechat.bus.listener import Listener, Subscription
from queuechat.bus.values import Accepted, Claim, Entry, Full, Item, Repeated, Sight, Verdict

__all__ = [
    "Accepted",
    "Bus",
    "Claim",
    "Entry",
    "Full",
    "Item",
    "Listener",
    "Repeated",
    "Sight",
    "Subscription",
    "Verdict",
]
