"""One program per client; each runs in that client's environment and imports nothing of ours but the report."""
