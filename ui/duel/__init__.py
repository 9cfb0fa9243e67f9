"""What two models at the same questions are, and how they look: shared by the tabs Arena and Side by side."""
