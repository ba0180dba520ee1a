"""Temperature scaling (Guo et al. 2017, arXiv:1706.04599): one number that makes probabilities surer or less sure.

Logits are divided by the temperature: above 1 the probabilities move towards equal ones, below 1 towards 0 and 1. The
order of the classes stays. Fit a temperature on validation images alone; on test images it would be part of what is
tested.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

FloatArray = npt.NDArray[np.float64]

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds: probabilities that are always right, or that say nothing, would ask for a temperature of 0 or infinity."""
SMALLEST = 1e-12
"""A stored probability of exactly 0 is taken to be this, because its logit must be a number."""


def logits(probabilities: FloatArray) -> FloatArray:
    """Natural logarithms of probabilities, which are logits up to a constant for each image; of the same shape."""
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST)))


def softmax(values: FloatArray) -> FloatArray:
    """Probabilities from logits; the last axis holds the classes."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def tempered(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Probabilities whose logits are divided by `temperature`; the last axis holds the classes."""
    return softmax(logits(probabilities) / temperature)


def fit_temperature(probabilities: FloatArray, truth: npt.NDArray[np.int64]) -> float:
    """The temperature with the smallest log loss, between `COLDEST` and `HOTTEST`.

    Args:
        probabilities: shape (images, classes).
        truth: class numbers, shape (images,).
    """
    images = np.arange(len(truth))
    values = logits(probabilities)

    def log_loss(log_temperature: float) -> float:
        of_truth = softmax(values / np.exp(log_temperature))[images, truth]
        return float(-np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)).mean())

    best = minimize_scalar(log_loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))
