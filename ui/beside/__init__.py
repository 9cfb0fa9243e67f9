"""The Side by side tab: two models by name."""
