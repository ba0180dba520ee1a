"""How several models become one: the named rules by which voters decide.

Ties are broken by the mean probability, in every rule, and flagged.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from job.contracts.tables import FloatArray, IntArray


@dataclass(frozen=True)
class Verdict:
    """What an ensemble says of each image.

    Attributes:
        probabilities: (images, classes); share of the votes, probability or score, by rule; rows sum to one.
        votes: (images, classes); how many voters called each class.
        predicted: (images,); position of the chosen class.
        tie: (images,); whether the rule's highest value was reached by more than one class.
    """

    probabilities: FloatArray
    votes: IntArray
    predicted: IntArray
    tie: npt.NDArray[np.bool_]


def majority(probabilities: FloatArray) -> Verdict:
    """Majority vote (plurality where there are more than two classes).

    Each voter's call is its most probable class (the first in class order when two are equal). The class with most
    calls wins. The probabilities are the shares of the votes, so the winner's is the agreement among the voters.

    Args:
        probabilities: shape (voters, images, classes).
    """
    calls = count_votes(probabilities)
    return _verdict(probabilities, calls / len(probabilities), calls)


def mean(probabilities: FloatArray) -> Verdict:
    """Mean probability: the class with the highest mean over the voters wins.

    Args:
        probabilities: shape (voters, images, classes).
    """
    average = _mean(probabilities)
    return _verdict(probabilities, average, average)


def median(probabilities: FloatArray) -> Verdict:
    """Median probability of each class over the voters, divided by their sum; the class with the highest wins.

    Args:
        probabilities: shape (voters, images, classes).
    """
    middle = np.median(probabilities, axis=0)
    total = middle.sum(axis=1, keepdims=True)
    # Voters who are each certain of another class leave a median of zero for all.
    middle = np.where(total > 0, middle / np.where(total > 0, total, 1.0), _mean(probabilities))
    return _verdict(probabilities, middle, middle)


def weighted(probabilities: FloatArray, weights: FloatArray) -> Verdict:
    """Mean probability with a weight for each voter; equal weights where all are zero.

    Args:
        probabilities: shape (voters, images, classes).
        weights: of the voters, none negative, such as `skill` on validation images; shape (voters,).
    """
    known = weights if weights.sum() > 0 else np.ones(len(weights))
    average = _sum(probabilities * (known / np.sort(known).sum())[:, None, None])
    return _verdict(probabilities, average, average)


def rank_mean(probabilities: FloatArray) -> Verdict:
    """Mean over the voters of each image's rank among the images, by the probability of each class.

    A voter whose probabilities are all too high or too low counts like any other. The scores, mean ranks scaled to
    between 0 and 1 and divided by their sum, are no probabilities. An image is called the second of two classes when
    its mean rank lies above the one that an image of equal probabilities would have. Ranks compare images, not classes:
    of more than two the highest mean probability wins. A rank depends on which images are judged together.

    Args:
        probabilities: shape (voters, images, classes).
    """
    voters, images, classes = probabilities.shape
    if not images:
        return _verdict(probabilities, probabilities.sum(axis=0), probabilities.sum(axis=0))
    rank = stats.rankdata(probabilities, axis=1)
    score = (rank.sum(axis=0) / voters - 0.5) / images
    score = score / score.sum(axis=1, keepdims=True)
    if classes > 2:
        return _verdict(probabilities, score, _mean(probabilities))
    below, equal = (probabilities < 0.5).sum(axis=1), (probabilities == 0.5).sum(axis=1)
    # Ranks are multiples of one half, so that their sums are exact in any order.
    ahead = (rank - (below + equal / 2 + 0.5)[:, None]).sum(axis=0)
    return _verdict(probabilities, score, ahead)


def skill(probabilities: FloatArray, truth: IntArray) -> float:
    """How far a voter's mean recall exceeds chance, from 0 (chance or worse) to 1: its weight in `weighted`.

    Args:
        probabilities: of validation images, shape (images, classes).
        truth: positions of their classes, shape (images,).
    """
    right = probabilities.argmax(axis=1) == truth
    recall = float(np.mean([right[truth == c].mean() for c in np.unique(truth)]))
    chance = 1 / probabilities.shape[1]
    return float(max(0.0, (recall - chance) / (1 - chance)))


def count_votes(probabilities: FloatArray) -> IntArray:
    """Calls per class, shape (images, classes), from probabilities of shape (voters, images, classes)."""
    classes = probabilities.shape[2]
    calls = probabilities.argmax(axis=2)
    return np.asarray((calls[:, :, None] == np.arange(classes)).sum(axis=0), dtype=np.int64)


def _verdict(probabilities: FloatArray, score: FloatArray, decisive: npt.NDArray[Any]) -> Verdict:
    """The class with the highest of `decisive` (images, classes) wins.

    Among tied classes the one with the highest mean probability, and the first in class order if even these are equal.
    """
    leading = decisive == decisive.max(axis=1, keepdims=True)
    predicted = np.where(leading, _mean(probabilities), -1.0).argmax(axis=1)
    return Verdict(score, count_votes(probabilities), predicted, leading.sum(axis=1) > 1)


def _mean(probabilities: FloatArray) -> FloatArray:
    return _sum(probabilities) / len(probabilities)


def _sum(values: FloatArray) -> FloatArray:
    # Sorted first: the last bit of a sum depends on its order, and a verdict must not depend on the voters' order.
    return np.asarray(np.sort(values, axis=0).sum(axis=0))
