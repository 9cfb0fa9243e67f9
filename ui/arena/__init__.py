"""The Arena tab: two hidden models, one question, a vote."""
