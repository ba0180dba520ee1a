"""Whether a probability of 0.8 is right eight times in ten: reliability, expected calibration error, temperature."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from job.contracts.tables import FloatArray, IntArray

ECE_BINS = 15
RELIABILITY_BINS = 10
# A temperature outside of these says that the probabilities rank without error, or not at all.
COLDEST, HOTTEST = 0.05, 20.0
# A stored probability of exactly 0 is taken to be this: its logit must be a number.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Bin:
    """Images whose probability lies in (low, high]; mean and share are None in an empty bin."""

    low: float
    high: float
    images: int
    mean_probability: float | None
    happened: int
    share: float | None


def bin_of(probability: FloatArray, bins: int) -> IntArray:
    """Position of each probability's bin among equally wide ones, open below and closed above; 0 is in the first."""
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, probability, side="left").astype(np.int64)


def reliability(probability: FloatArray, happened: npt.NDArray[np.bool_], bins: int) -> list[dict[str, Any]]:
    """The reliability curve: one entry of `Bin` per bin, empty ones too.

    Args:
        probability: said probability of an event, shape (images,).
        happened: whether it took place, shape (images,).
        bins: number of equally wide bins over [0, 1].
    """
    position = bin_of(probability, bins)
    images = np.bincount(position, minlength=bins)
    right = np.bincount(position, weights=happened, minlength=bins).astype(np.int64)
    said = np.bincount(position, weights=probability, minlength=bins)
    return [
        asdict(Bin(
            k / bins, (k + 1) / bins, int(n), float(said[k] / n) if n else None, int(right[k]),
            float(right[k] / n) if n else None,
        ))
        for k, n in enumerate(images)
    ]  # fmt: skip


def expected_error(confidence: FloatArray, right: npt.NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Expected calibration error: mean over images of the gap between said and reached in the image's bin.

    Guo et al. 2017, arXiv:1706.04599, with 15 bins. It is biased upwards where bins hold few images.

    Args:
        confidence: probability of the called class, shape (images,).
        right: whether the call was right, shape (images,).
        bins: number of equally wide bins over [0, 1].
    """
    gap = np.bincount(bin_of(confidence, bins), weights=confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def tempered(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Probabilities whose logits are divided by `temperature`; the last axis holds the classes."""
    logits = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_temperature(probabilities: FloatArray, truth: IntArray) -> float:
    """The temperature with the smallest log loss (Guo et al. 2017), between 0.05 and 20.

    Fit it on validation images alone; on test images it would be part of what is tested.

    Args:
        probabilities: shape (images, classes).
        truth: positions of the true classes, shape (images,).
    """
    rows = np.arange(len(truth))

    def log_loss(log_temperature: float) -> float:
        return float(-np.log(tempered(probabilities, np.exp(log_temperature))[rows, truth]).mean())

    found = minimize_scalar(log_loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))
