"""Engines: token ids in, one list of events per step out. `base` is the law, each other file one engine."""
