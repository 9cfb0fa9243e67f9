"""The Leaderboard tab: what people voted, as ratings with their intervals."""
