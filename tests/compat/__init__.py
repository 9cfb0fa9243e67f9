"""Real clients, each in an environment of its own, against a running queuechat; `python -m tests.compat` for all."""
