"""Trained networks in use: from rows of the pixel store to probabilities and activation maps."""
