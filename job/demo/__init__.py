"""Synthetic cells in the official C-NMC folder layout, drawn by a program."""
