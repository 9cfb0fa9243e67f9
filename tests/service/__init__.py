"""What the service promises when nothing is broken but much is asked: cancelling, restarts, overload, and its price."""
