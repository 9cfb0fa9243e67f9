"""Real processes, real signals, and a judge who has seen every token.

`python -m tests.chaos CASE` runs a case at full size; the tests here are short slices of the same.
"""
