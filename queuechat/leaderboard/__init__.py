"""Ratings of models from people's votes: battles in, one document of scores, intervals and ranks out. No Redis here."""
