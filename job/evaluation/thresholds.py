"""What is decided by a threshold, chosen on validation cells and tried on test cells.

From which probability on a cell counts as positive (two classes only), and from which confidence on it is not left to a
pathologist. A cell that reaches the threshold counts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk

from job.contracts.tables import FloatArray

BoolArray = npt.NDArray[np.bool_]
POINTS = 50
FEWEST = 10
"""Cells at which a risk-coverage curve ends: an error among fewer is no figure."""


def between(levels: FloatArray) -> FloatArray:
    """For scores in falling order the threshold that each is the last to reach: midway to the next, the last's to 0.

    A threshold that is itself a score would decide that cell by the last bit of a float.
    """
    return np.asarray((levels + np.append(levels[1:], 0)) / 2)


def choose(
    score: FloatArray, positive: BoolArray, sensitivity: float, miss_cost: float
) -> list[tuple[str, float, str | None]]:
    """The operating points: name, threshold, and why there is none.

    `half` is 0.5; `sensitivity` the highest threshold that reaches the required sensitivity; `youden` maximises
    sensitivity + specificity (Youden 1950); `cost` minimises false alarms + `miss_cost` x misses. Of equal ones the
    highest threshold is taken. Of validation cells come the score, which is the probability of the positive class, and
    whether they are positive, both of shape (cells,).
    """
    if positive.all() or not positive.any():
        reason = "the validation images are all of one class"
        return [("half", 0.5, None), *((name, 0.5, reason) for name in ("sensitivity", "youden", "cost"))]
    tn, fp, fn, tp, levels = sk.confusion_matrix_at_thresholds(positive, score)
    threshold = between(levels)
    reached = int(np.argmax(tp / (tp + fn) >= sensitivity))
    youden = int(np.argmax(tp / (tp + fn) + tn / (tn + fp)))
    cost = int(np.argmin(fp + miss_cost * fn))
    chosen = {"sensitivity": reached, "youden": youden, "cost": cost}
    return [("half", 0.5, None), *((name, float(threshold[at]), None) for name, at in chosen.items())]


def counts(score: FloatArray, positive: BoolArray, threshold: float) -> dict[str, Any]:
    """TP, FN, FP and TN at a threshold, with sensitivity and specificity; None of nothing."""
    tn, fp, fn, tp = sk.confusion_matrix(positive, score >= threshold, labels=[False, True]).ravel().tolist()
    rates = {"sensitivity": (tp, fn), "specificity": (tn, fp)}
    shares = {name: hit / (hit + miss) if hit + miss else None for name, (hit, miss) in rates.items()}
    return {"TP": tp, "FN": fn, "FP": fp, "TN": tn, **shares}


def decision_curve(score: FloatArray, positive: BoolArray, prevalences: Sequence[float]) -> list[dict[str, Any]]:
    """Net benefit per cell of following the model, and of taking every cell for positive; of taking none it is 0.

    Vickers and Elkin 2006, Med Decis Making 26:565, with the share of positive cells as a parameter (Rousson and
    Zumbrunn 2011): sensitivity x share - (1 - specificity) x (1 - share) x t / (1 - t), where t is the probability from
    which on one would act. The share among test cells is one that the split made. There is an entry per threshold from
    0.05 to 0.95 and prevalence, and none where the cells are all of one class.
    """
    rows = []
    for percent in range(5, 100, 5) if 0 < positive.sum() < len(positive) else ():
        t = percent / 100
        reached = counts(score, positive, t)
        rates = {name: reached[name] for name in ("sensitivity", "specificity")}
        for share in prevalences:
            harm = (1 - share) * t / (1 - t)
            benefit = rates["sensitivity"] * share - (1 - rates["specificity"]) * harm
            rows.append({"threshold": t, "prevalence": share, **rates, "model": benefit, "all": share - harm})
    return rows


def risk_coverage(confidence: FloatArray, correct: BoolArray) -> list[dict[str, Any]]:
    """Errors among the cells of which a model is surest, for a falling demand (El-Yaniv and Wiener 2010).

    Confidence is such as the highest probability, or the share of voters who agree. Cells of equal confidence are kept
    or refused together. There are at most 51 points as of `kept_above`, each of at least `FEWEST` cells, or of all.
    """
    levels, kept, _ = _levels(confidence, correct)
    first = int(np.argmax(kept >= min(FEWEST, len(correct))))
    shown = np.unique(np.linspace(first, len(levels) - 1, min(len(levels) - first, POINTS + 1)).round().astype(int))
    return [kept_above(confidence, correct, float(levels[i])) for i in shown]


def least_confidence(confidence: FloatArray, correct: BoolArray, error: float) -> float | None:
    """The least confidence at which the kept cells' error is at most `error`, with as many kept as possible.

    None where no demand is high enough. Choose it on validation cells.
    """
    levels, kept, errors = _levels(confidence, correct)
    reached = np.flatnonzero(errors / kept <= error)
    return float(between(levels)[reached[-1]]) if reached.size else None


def kept_above(confidence: FloatArray, correct: BoolArray, threshold: float) -> dict[str, Any]:
    """What a least `confidence` keeps: cells kept, refused (left to a pathologist), and errors among the kept."""
    keep = confidence >= threshold
    kept, errors, cells = int(keep.sum()), int((~correct[keep]).sum()), len(correct)
    return {
        "confidence": threshold,
        "kept": kept,
        "coverage": kept / cells,
        "refused": cells - kept,
        "share_refused": 1 - kept / cells,
        "errors": errors,
        "error": errors / kept if kept else None,
    }


def _levels(confidence: FloatArray, correct: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct confidences, highest first; cells and errors at or above each."""
    _, errors, _, hits, levels = sk.confusion_matrix_at_thresholds(correct, confidence)
    return levels, hits + errors, errors
