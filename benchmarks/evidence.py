"""Intervals of many models: 10,000 resamples of the published test set's 2,414 images of 15 subjects, 20 models."""

import time

import numpy as np

from benchmarks.coverage import DATASET, SETTINGS, USUAL, simulate
from job.evaluation import intervals
from job.evaluation.metrics import METRICS
from job.seeds import generator

MODELS, RESAMPLES = 20, 10_000


def run() -> dict[str, float]:
    """Seconds for every metric of every model under every resample, with percentile, BCa and jackknife intervals."""
    draw = generator(2019, "benchmark", "evidence")
    (subjects, images) = SETTINGS["4/11"]
    first, people = simulate(subjects, images, USUAL, draw)
    models = [first]
    for _ in range(MODELS - 1):
        logit = np.log(first.probabilities / (1 - first.probabilities)) + draw.normal(0, 0.3, first.probabilities.shape)
        probabilities = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
        models.append(type(first)(first.truth, probabilities.argmax(axis=1), probabilities))
    start = time.perf_counter()
    for found in intervals.replicate(models, people, DATASET, RESAMPLES, draw):
        assert found.resampled.shape == (RESAMPLES, len(METRICS))
        intervals.percentile(found)
        intervals.bca(found)
        intervals.jackknife_t(found, intervals.SCALES)
    return {"bootstrap_seconds": time.perf_counter() - start}
