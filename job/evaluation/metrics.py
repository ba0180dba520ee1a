"""Every figure of one model, computed by scikit-learn, each either a number or undefined with a reason.

The definitions are the standard ones: sensitivity = TP / (TP + FN), specificity = TN / (TN + FP), PPV = TP / (TP + FP),
NPV = TN / (TN + FN), F1 = 2 TP / (2 TP + FP + FN). With two classes they are those of the positive class; with more
they are macro averages over the classes, each against the rest. The Brier score is half the squared distance between
the probabilities and the truth, from 0 to 1 whatever the number of classes. ECE is the expected calibration error of
the predicted class (Guo et al. 2017, arXiv:1706.04599), which scikit-learn does not have.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sklearn.metrics as sk

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray, IntArray
from job.evaluation import calibration

METRICS = (
    "accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "weighted_f1", "macro_f1", "balanced_accuracy", "mcc",
    "cohen_kappa", "auroc", "auprc", "brier", "log_loss", "ece",
)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """What one model reached on one set of images.

    Attributes:
        confusion: counts, rows truth and columns predicted, both in class order.
        metrics: every name of `METRICS`; None where undefined.
        undefined: the reason for each None.
    """

    confusion: list[list[int]]
    metrics: dict[str, float | None]
    undefined: dict[str, str]


class _UndefinedError(Exception):
    """A figure has no value; the message is the reason."""


def score(truth: IntArray, predicted: IntArray, probabilities: FloatArray, dataset: Dataset) -> Scores:
    """Score predictions against the truth, every cell counting once.

    AUROC, AUPRC (average precision), Brier score, log loss and ECE judge `probabilities`. A score that is the same for
    every image ranks nothing: AUROC and AUPRC are then undefined rather than 0.5 and the prevalence. The log loss is
    undefined, being infinite, where a class with probability 0 was the true one.

    Args:
        truth: positions of the true classes, shape (images,).
        predicted: positions of the predicted classes, shape (images,).
        probabilities: shape (images, classes), rows summing to one.
        dataset: class names in order, and the positive class.
    """
    count = len(dataset.classes)
    confusion = np.zeros((count, count), dtype=np.int64)
    if len(truth):
        confusion = sk.confusion_matrix(truth, predicted, labels=range(count))
    figures = _label_figures(truth, predicted, confusion, dataset)
    figures |= _probability_figures(truth, predicted, probabilities, dataset)
    metrics: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for name in METRICS:
        try:
            if not len(truth):
                raise _UndefinedError("there are no images")
            metrics[name] = float(figures[name]())
        except _UndefinedError as reason:
            metrics[name] = None
            undefined[name] = str(reason)
    return Scores(confusion.tolist(), metrics, undefined)


Figures = dict[str, Callable[[], float]]


def _label_figures(truth: IntArray, predicted: IntArray, confusion: IntArray, dataset: Dataset) -> Figures:
    labels = range(len(dataset.classes))
    hit = np.diag(confusion)
    missed, false = confusion.sum(axis=1) - hit, confusion.sum(axis=0) - hit
    rejected = confusion.sum() - hit - missed - false

    def rate(part: IntArray, rest: IntArray, reason: str) -> Callable[[], float]:
        return lambda: _rate(part, part + rest, reason, dataset)

    def balanced_accuracy() -> float:
        _needs_all_classes(truth, dataset)
        return float(sk.balanced_accuracy_score(truth, predicted))

    def macro_f1() -> float:
        for name, total in zip(dataset.classes, 2 * hit + missed + false, strict=True):
            if total == 0:
                raise _UndefinedError(f"no image is {name} or predicted {name}")
        return float(sk.f1_score(truth, predicted, labels=labels, average="macro"))

    def mcc() -> float:
        for values, verb in ((truth, "present"), (predicted, "predicted")):
            _needs_two(values, verb, dataset)
        return float(sk.matthews_corrcoef(truth, predicted))

    def cohen_kappa() -> float:
        _needs_two(np.concatenate([truth, predicted]), "present and predicted", dataset)
        return float(sk.cohen_kappa_score(truth, predicted))

    return {
        "accuracy": lambda: float(sk.accuracy_score(truth, predicted)),
        "sensitivity": rate(hit, missed, "no image is {}"),
        "specificity": rate(rejected, false, "every image is {}"),
        "ppv": rate(hit, false, "no image is predicted {}"),
        "npv": rate(rejected, missed, "every image is predicted {}"),
        "f1": rate(2 * hit, missed + false, "no image is {0} or predicted {0}"),
        # A class without images has weight zero here, whatever its own F1 is taken to be.
        "weighted_f1": lambda: float(
            sk.f1_score(truth, predicted, labels=labels, average="weighted", zero_division=0.0)
        ),
        "macro_f1": macro_f1,
        "balanced_accuracy": balanced_accuracy,
        "mcc": mcc,
        "cohen_kappa": cohen_kappa,
    }


def _probability_figures(truth: IntArray, predicted: IntArray, probabilities: FloatArray, dataset: Dataset) -> Figures:
    classes = dataset.reported
    labels = range(len(dataset.classes))

    def one_against_rest(metric: Callable[[FloatArray, FloatArray], float]) -> float:
        _needs_all_classes(truth, dataset)
        for c in classes:
            if np.ptp(probabilities[:, c]) == 0:
                raise _UndefinedError(f"the score for {dataset.classes[c]} is the same for every image")
        return float(np.mean([metric(truth == c, probabilities[:, c]) for c in classes]))

    def log_loss() -> float:
        impossible = int((probabilities[np.arange(len(truth)), truth] == 0).sum())
        if impossible:
            raise _UndefinedError(f"it is infinite: {impossible} images had probability 0 for their true class")
        return float(sk.log_loss(truth, probabilities, labels=labels))

    return {
        "auroc": lambda: one_against_rest(sk.roc_auc_score),
        "auprc": lambda: one_against_rest(sk.average_precision_score),
        "brier": lambda: float(sk.brier_score_loss(truth, probabilities, labels=labels, scale_by_half=True)),
        "log_loss": log_loss,
        "ece": lambda: calibration.expected_error(probabilities[np.arange(len(truth)), predicted], predicted == truth),
    }


def _rate(part: IntArray, whole: IntArray, reason: str, dataset: Dataset) -> float:
    classes = dataset.reported
    for c in classes:
        if whole[c] == 0:
            raise _UndefinedError(reason.format(dataset.classes[c]))
    return float(np.mean(part[classes] / whole[classes]))


def _needs_two(values: IntArray, verb: str, dataset: Dataset) -> None:
    if len(np.unique(values)) == 1:
        raise _UndefinedError(f"{dataset.classes[values[0]]} is the only class {verb}")


def _needs_all_classes(truth: IntArray, dataset: Dataset) -> None:
    absent = [name for c, name in enumerate(dataset.classes) if not (truth == c).any()]
    if absent:
        raise _UndefinedError(f"no image is {' or '.join(absent)}")
