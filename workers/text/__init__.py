"""Text above the engines: chat templates on the way in, detokenising and stop strings on the way out."""
