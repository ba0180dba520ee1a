"""How several models become one: majority vote and mean probability."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from job.evaluation.reading import FloatArray, IntArray


@dataclass(frozen=True)
class Verdict:
    """What an ensemble says of each image.

    Attributes:
        probabilities: (images, classes); share of the votes, or mean probability, by rule.
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
    calls wins; among tied classes the one with the highest mean probability, and the first in class order if even these
    are equal.

    Args:
        probabilities: shape (voters, images, classes).
    """
    votes = count_votes(probabilities)
    leading = votes == votes.max(axis=1, keepdims=True)
    predicted = np.where(leading, _mean(probabilities), -1.0).argmax(axis=1)
    return Verdict(votes / len(probabilities), votes, predicted, leading.sum(axis=1) > 1)


def mean(probabilities: FloatArray) -> Verdict:
    """Mean probability: the class with the highest mean over the voters wins, the first in class order if equal.

    Args:
        probabilities: shape (voters, images, classes).
    """
    average = _mean(probabilities)
    tie = (average == average.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return Verdict(average, count_votes(probabilities), average.argmax(axis=1), tie)


def count_votes(probabilities: FloatArray) -> IntArray:
    """Calls per class, shape (images, classes), from probabilities of shape (voters, images, classes)."""
    classes = probabilities.shape[2]
    calls = probabilities.argmax(axis=2)
    return np.asarray((calls[:, :, None] == np.arange(classes)).sum(axis=0), dtype=np.int64)


def _mean(probabilities: FloatArray) -> FloatArray:
    # Sorted first: the last bit of a sum depends on its order, and a verdict must not depend on the voters' order.
    return np.asarray(np.sort(probabilities, axis=0).mean(axis=0))
