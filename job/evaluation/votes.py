"""How several models become one: the named rules by which voters decide.

Ties are broken by the mean probability, in every rule, and flagged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from job.contracts.tables import FloatArray, IntArray
from job.temperature import logits, tempered

RULES = ("majority", "mean", "calibrated")
"""The published report's first."""


@dataclass(frozen=True)
class Verdict:
    """What an ensemble predicts for each image.

    Attributes:
        probabilities: shape (images, classes), rows summing to one: the mean probability, or the calibrated one.
        votes: how many voters predicted each class, shape (images, classes).
        predicted: number of the chosen class, shape (images,).
        tie: whether the rule's highest value was reached by more than one class, shape (images,).
    """

    probabilities: FloatArray
    votes: IntArray
    predicted: IntArray
    tie: npt.NDArray[np.bool_]


def verdicts(probabilities: FloatArray, temperatures: FloatArray) -> dict[str, Verdict]:
    """What every rule of `RULES` predicts; the arguments are those of `calibrated`."""
    return {
        "majority": majority(probabilities),
        "mean": mean(probabilities),
        "calibrated": calibrated(probabilities, temperatures),
    }


def majority(probabilities: FloatArray) -> Verdict:
    """Majority vote (plurality where there are more than two classes).

    Each voter votes for its most probable class (the first in class order when two are equal). The class with most
    votes wins. The probabilities are the mean over the voters: shares of five votes would rank images in six steps.

    Args:
        probabilities: shape (voters, images, classes).
    """
    return _verdict(probabilities, _mean(probabilities), count_votes(probabilities))


def mean(probabilities: FloatArray) -> Verdict:
    """Mean probability: the class with the highest mean over the voters wins.

    Args:
        probabilities: shape (voters, images, classes).
    """
    average = _mean(probabilities)
    return _verdict(probabilities, average, average)


def calibrated(probabilities: FloatArray, temperatures: FloatArray) -> Verdict:
    """Mean of the voters' logits, each divided by its temperature; the class with the highest probability wins.

    Where voters differ, a mean of probabilities is much less sure than each of them (Rahaman and Thiery 2021,
    arXiv:2007.08792), a mean of logits a little less.

    Args:
        probabilities: shape (voters, images, classes).
        temperatures: of each voter, fitted on validation images, shape (voters,).
    """
    average = np.asarray(tempered(_mean(logits(probabilities) / temperatures[:, None, None]), 1), np.float64)
    return _verdict(probabilities, average, average)


def count_votes(probabilities: FloatArray) -> IntArray:
    """Votes per class, shape (images, classes), from probabilities of shape (voters, images, classes)."""
    votes = probabilities.argmax(axis=2)
    return np.asarray((votes[:, :, None] == np.arange(probabilities.shape[2])).sum(axis=0), dtype=np.int64)


def _verdict(probabilities: FloatArray, average: FloatArray, decisive: npt.NDArray[Any]) -> Verdict:
    """The class with the highest of `decisive` (images, classes) wins.

    Among tied classes the one with the highest mean probability, and the first in class order if even these are equal.
    """
    leading = decisive == decisive.max(axis=1, keepdims=True)
    predicted = np.where(leading, _mean(probabilities), -1.0).argmax(axis=1)
    return Verdict(average, count_votes(probabilities), predicted, leading.sum(axis=1) > 1)


def _mean(values: FloatArray) -> FloatArray:
    # Sorted first: the last bit of a sum depends on its order, and a verdict must not depend on the voters' order.
    return np.asarray(np.sort(values, axis=0).sum(axis=0) / len(values))
