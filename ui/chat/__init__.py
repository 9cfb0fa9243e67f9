"""The Chat tab: one model, one conversation."""
