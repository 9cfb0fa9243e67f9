"""The OpenAI-compatible HTTP front end: every request becomes jobs on a Redis stream, every event an SSE frame."""
