"""The API against inputs that Schemathesis makes from our own OpenAPI document; `python -m tests.fuzz` runs it."""
