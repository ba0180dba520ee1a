"""Measurements of speed and memory: ratios of two ways taken in one run. Never an output of the pipeline."""
