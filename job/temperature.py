"""Temperature scaling of a classifier's probabilities (Guo et al. 2017, arXiv:1706.04599), without torch."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

# A temperature outside of these means that the probabilities rank the images without error, or not at all.
COLDEST, HOTTEST = 0.05, 20.0
# A stored probability of exactly 0 counts as this one: its logit must be a number.
_SMALLEST = 1e-12


def logits(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Logits whose softmax are these probabilities: their logarithms."""
    return np.asarray(np.log(np.maximum(probabilities, _SMALLEST)))


def tempered(logits: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.floating]:
    """Probabilities at a temperature: softmax of `logits / temperature` over the last axis, which holds the classes."""
    return np.asarray(softmax(logits / temperature, axis=-1))


def fit_temperature(logits: npt.NDArray[np.floating], classes: npt.NDArray[np.int64]) -> float:
    """The temperature between 0.05 and 20 with the smallest mean cross-entropy of `tempered` probabilities.

    It is to be fitted on validation images, which the network did not learn from; on test images it would be part of
    what is tested. It is bounded, because a network without an error on these images would ask for a temperature of 0.
    `logits` have the shape (images, classes), and `classes` hold the class number of each image.
    """
    images = np.arange(len(classes))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[images, classes].mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
