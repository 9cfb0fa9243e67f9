"""GPU hosts: a supervisor without torch, and one engine child that pulls jobs and publishes tokens."""
