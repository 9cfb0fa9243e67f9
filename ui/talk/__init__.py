"""A conversation with a model, wherever on the page it is led: what is asked, what comes back, how it looks."""
