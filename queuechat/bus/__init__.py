"""The only door to Redis: typed verbs over queuechat/functions, one multiplexed pub/sub connection, one error map."""

from queuechat.bus.bus import Bus, memory_low
from queuechat.bus.listener import Listener, Subscription
from queuechat.bus.values import Accepted, Claim, Claims, Entry, Grant, Item, Repeated, Sight, Stand, Verdict

__all__ = [
    "Accepted",
    "Bus",
    "Claim",
    "Claims",
    "Entry",
    "Grant",
    "Item",
    "Listener",
    "Repeated",
    "Sight",
    "Stand",
    "Subscription",
    "Verdict",
    "memory_low",
]
