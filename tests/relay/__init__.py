"""Models that a provider elsewhere serves: from our door to theirs and back."""
