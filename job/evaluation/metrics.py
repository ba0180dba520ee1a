"""Every figure of one model, computed by scikit-learn, each either a number or undefined with a reason; calibration.

The definitions are the standard ones: sensitivity = TP / (TP + FN), specificity = TN / (TN + FP), PPV = TP / (TP + FP),
NPV = TN / (TN + FN), F1 = 2 TP / (2 TP + FP + FN). With two classes they are those of the positive class; with more
they are macro averages over the classes, each against the rest. The Brier score is half the squared distance between
the probabilities and the truth, from 0 to 1 whatever the number of classes. ECE is the expected calibration error of
the predicted class (Guo et al. 2017, arXiv:1706.04599), which scikit-learn does not have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray, IntArray
from job.seeds import generator

METRICS = (
    "accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "weighted_f1", "macro_f1", "balanced_accuracy", "mcc",
    "cohen_kappa", "auroc", "auprc", "brier", "log_loss", "ece",
)  # fmt: skip
ECE_BINS = 15
RELIABILITY_BINS = 10
DRAWS = 500


@dataclass(frozen=True)
class Scores:
    """What one model reached on one set of images."""

    confusion: list[list[int]]  # counts, rows truth and columns predicted, both in class order
    metrics: dict[str, float | None]  # every name of `METRICS`; None where undefined
    undefined: dict[str, str]  # the reason for each None


def score(truth: IntArray, predicted: IntArray, probabilities: FloatArray, dataset: Dataset) -> Scores:
    """Score predictions of at least one cell against the truth, every cell counting once.

    `truth` and `predicted` are class numbers, (images,). AUROC, AUPRC (average precision), Brier score, log loss and
    ECE judge `probabilities`, (images, classes). A score that is the same for every image ranks nothing: AUROC and
    AUPRC are then undefined rather than 0.5 and the prevalence. The log loss is undefined, being infinite, where a
    class with probability 0 was the true one.
    """
    confusion = sk.confusion_matrix(truth, predicted, labels=range(len(dataset.classes)))
    undefined = _undefined(truth, predicted, probabilities, dataset)
    figures = _figures(truth, predicted, probabilities, dataset)
    metrics = {name: None if name in undefined else float(figures[name]()) for name in METRICS}
    return Scores(confusion.tolist(), metrics, undefined)


def _figures(
    truth: IntArray, predicted: IntArray, probabilities: FloatArray, dataset: Dataset
) -> dict[str, Callable[[], float]]:
    """Each metric as a function, because scikit-learn warns of those that have no value."""
    labels = range(len(dataset.classes))
    parts = [(truth == c, predicted == c, probabilities[:, c]) for c in dataset.reported]
    confidence = probabilities[np.arange(len(truth)), predicted]
    return {
        "accuracy": lambda: sk.accuracy_score(truth, predicted),
        "sensitivity": lambda: np.mean([sk.recall_score(actual, assigned) for actual, assigned, _ in parts]),
        "specificity": lambda: np.mean([sk.recall_score(~actual, ~assigned) for actual, assigned, _ in parts]),
        "ppv": lambda: np.mean([sk.precision_score(actual, assigned) for actual, assigned, _ in parts]),
        "npv": lambda: np.mean([sk.precision_score(~actual, ~assigned) for actual, assigned, _ in parts]),
        "f1": lambda: np.mean([sk.f1_score(actual, assigned) for actual, assigned, _ in parts]),
        # A class without images has weight zero here, whatever its F1 is taken to be.
        "weighted_f1": lambda: sk.f1_score(truth, predicted, labels=labels, average="weighted", zero_division=0.0),
        "macro_f1": lambda: sk.f1_score(truth, predicted, labels=labels, average="macro"),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(truth, predicted),
        "mcc": lambda: sk.matthews_corrcoef(truth, predicted),
        "cohen_kappa": lambda: sk.cohen_kappa_score(truth, predicted),
        "auroc": lambda: np.mean([sk.roc_auc_score(actual, score) for actual, _, score in parts]),
        "auprc": lambda: np.mean([sk.average_precision_score(actual, score) for actual, _, score in parts]),
        "brier": lambda: sk.brier_score_loss(truth, probabilities, labels=labels, scale_by_half=True),
        "log_loss": lambda: sk.log_loss(truth, probabilities, labels=labels),
        "ece": lambda: expected_error(confidence, predicted == truth),
    }


def _undefined(truth: IntArray, predicted: IntArray, probabilities: FloatArray, dataset: Dataset) -> dict[str, str]:
    """Why a metric has no value, by metric; of several reasons the last."""
    reasons: dict[str, str] = {}
    for c, name in enumerate(dataset.classes):
        actual, assigned, ranked = truth == c, predicted == c, probabilities[:, c]
        reported, neither = c in dataset.reported, not (actual | assigned).any()
        cases = [
            ("mcc", actual.all(), f"{name} is the only class present"),
            ("mcc", assigned.all(), f"{name} is the only class predicted"),
            ("cohen_kappa", (actual & assigned).all(), f"{name} is the only class present and predicted"),
            ("macro_f1", neither, f"no image is {name} or predicted {name}"),
            ("sensitivity", reported and not actual.any(), f"no image is {name}"),
            ("specificity", reported and actual.all(), f"every image is {name}"),
            ("ppv", reported and not assigned.any(), f"no image is predicted {name}"),
            ("npv", reported and assigned.all(), f"every image is predicted {name}"),
            ("f1", reported and neither, f"no image is {name} or predicted {name}"),
            ("auroc auprc", reported and np.ptp(ranked) == 0, f"the score for {name} is the same for every image"),
            ("balanced_accuracy auroc auprc", not actual.any(), f"no image is {name}"),
        ]
        reasons |= {metric: reason for metrics, holds, reason in cases if holds for metric in metrics.split()}
    impossible = int((probabilities[np.arange(len(truth)), truth] == 0).sum())
    if impossible:
        reasons["log_loss"] = f"it is infinite: {impossible} images had probability 0 for their true class"
    return reasons


def bin_of(probability: FloatArray, bins: int) -> IntArray:
    """Position of each probability's bin among equally wide ones, open below and closed above; 0 is in the first."""
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, probability, side="left").astype(np.int64)


def reliability(probability: FloatArray, happened: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The reliability curve of an event: its probability and whether it took place, both of shape (images,).

    An entry per bin (low, high] has its `images`, their `mean_probability`, in how many the event `happened`, and the
    `share` of those; the mean and the share are None in an empty bin.
    """
    bins, position = RELIABILITY_BINS, bin_of(probability, RELIABILITY_BINS)
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


def expected_error(confidence: FloatArray, correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: mean over images of the gap between confidence and accuracy in the image's bin.

    Guo et al. 2017, arXiv:1706.04599, with 15 bins. Few images in a bin are never as often correct as they should be,
    so that it is above zero for perfect probabilities too: `error_if_calibrated` says by how much. `confidence` is the
    probability of the predicted class, shape (images,), and `correct` whether it is the true one.
    """
    gap = np.bincount(bin_of(confidence, ECE_BINS), weights=confidence - correct)
    return float(np.abs(gap).sum() / len(confidence))


def error_if_calibrated(confidence: FloatArray) -> dict[str, float]:
    """What `expected_error` would be if each prediction were correct exactly as often as its confidence says.

    It is the `mean` and the 95 % quantile, `high`, over `DRAWS` draws of which predictions are correct.
    """
    draw = generator(0, "evaluation", "calibration error")
    errors = [expected_error(confidence, draw.random(len(confidence)) < confidence) for _ in range(DRAWS)]
    return {"mean": round(float(np.mean(errors)), 6), "high": round(float(np.quantile(errors, 0.95)), 6)}
