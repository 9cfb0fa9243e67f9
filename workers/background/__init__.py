"""What runs in the background, driven by arq: batches, and the end of files that have expired."""
