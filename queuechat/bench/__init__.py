"""Measuring: load on any server of OpenAI's API, what came of it, and how far it is from what the machine could do."""
