"""The About tab: what this is, what it serves, how programs ask, and what is written down."""
