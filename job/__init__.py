"""Leukaemia blasts (ALL) or healthy cells (HEM): a batch job from cell images to a report that can be checked."""
