"""Fetching what users name by URL, without letting them into the network that this server stands in."""
