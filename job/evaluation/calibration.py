"""Whether cells with a probability of 0.8 are of that class eight times in ten."""

from typing import Any

import numpy as np
import numpy.typing as npt

from job.contracts.tables import FloatArray, IntArray
from job.seeds import generator

ECE_BINS = 15
RELIABILITY_BINS = 10
DRAWS = 500


def bin_of(probability: FloatArray, bins: int) -> IntArray:
    """Position of each probability's bin among equally wide ones, open below and closed above; 0 is in the first."""
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, probability, side="left").astype(np.int64)


def reliability(probability: FloatArray, happened: npt.NDArray[np.bool_], bins: int) -> list[dict[str, Any]]:
    """The reliability curve of an event: its probability and whether it took place, both of shape (images,).

    Returns:
        One entry per bin (low, high]: its `images`, their `mean_probability`, in how many the event `happened`, and the
        `share` of those; the mean and the share are None in an empty bin.
    """
    position = bin_of(probability, bins)
    images = np.bincount(position, minlength=bins)
    total, events = (np.bincount(position, weights=values, minlength=bins) for values in (probability, happened))
    return [
        {
            "low": k / bins,
            "high": (k + 1) / bins,
            "images": int(n),
            "mean_probability": float(total[k] / n) if n else None,
            "happened": int(events[k]),
            "share": float(events[k] / n) if n else None,
        }
        for k, n in enumerate(images)
    ]


def expected_error(confidence: FloatArray, correct: npt.NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Expected calibration error: mean over images of the gap between confidence and accuracy in the image's bin.

    Guo et al. 2017, arXiv:1706.04599, with 15 bins. Few images in a bin are never as often correct as they should be,
    so that it is above zero for perfect probabilities too: `error_if_calibrated` says by how much. `confidence` is the
    probability of the predicted class, shape (images,), and `correct` whether it is the true one.
    """
    gap = np.bincount(bin_of(confidence, bins), weights=confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def error_if_calibrated(confidence: FloatArray) -> dict[str, float]:
    """What `expected_error` would be if each prediction were correct exactly as often as its confidence says.

    Returns:
        `mean` and the 95 % quantile, `high`, over `DRAWS` draws of which predictions are correct.
    """
    draw = generator(0, "evaluation", "calibration error")
    errors = [expected_error(confidence, draw.random(len(confidence)) < confidence) for _ in range(DRAWS)]
    return {"mean": round(float(np.mean(errors)), 6), "high": round(float(np.quantile(errors, 0.95)), 6)}
