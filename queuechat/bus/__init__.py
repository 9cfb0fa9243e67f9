"""The only door to Redis: typed verbs over queuechat/functions, one multiplexed pub/sub connection, one error map."""

from queuechat.bus.bus import Bus, memory_low
from queuechat.bus.listener import Listener, Subscription
from queuechat.bus.values import Accepted, Claim, Claims, Entry, Item, Repeated, Sight, Verdict

__all__ = [
    "Accepted",
    "Bus",
    "Claim",
    "Claims",
    "Entry",
    "Item",
    "Listener",
    "Repeated",
    "Sight",
    "Subscription",
    "Verdict",
    "memory_low",
]
