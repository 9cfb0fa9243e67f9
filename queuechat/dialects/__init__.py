"""The APIs that we speak: from a body to the jobs that it asks for, and from their events to the answer.

Pure: no HTTP, no Redis. The API server speaks them with its clients, batches with the lines of their files.
"""
