"""From which probability on a cell is called positive: chosen on validation images, then tried on test images.

Two classes only. A cell is called positive when its probability is at least the threshold.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from job.contracts.tables import FloatArray

BoolArray = npt.NDArray[np.bool_]


def choose(
    score: FloatArray, positive: BoolArray, sensitivity: float, miss_cost: float
) -> list[tuple[str, float, str | None]]:
    """The operating points: name, threshold, and why there is none.

    `half` is 0.5; `sensitivity` the highest threshold that reaches the required sensitivity; `youden` maximises
    sensitivity + specificity (Youden 1950); `cost` minimises false alarms + `miss_cost` x misses. Of equal ones the
    highest threshold is taken.

    Args:
        score: probability of the positive class of validation images, shape (images,).
        positive: whether they are, shape (images,).
        sensitivity: the required share of positive images found.
        miss_cost: how many false alarms one miss weighs as much as.
    """
    levels = np.unique(score)[::-1]
    hits, alarms = _at_least(score, positive, levels), _at_least(score, ~positive, levels)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        reason = "the validation images are all of one class"
        return [("half", 0.5, None), *((name, 0.5, reason) for name in ("sensitivity", "youden", "cost"))]
    reached = int(np.argmax(hits / positives >= sensitivity))
    youden = int(np.argmax(hits / positives - alarms / negatives))
    cost = int(np.argmin(alarms + miss_cost * (positives - hits)))
    return [
        ("half", 0.5, None),
        ("sensitivity", float(levels[reached]), None),
        ("youden", float(levels[youden]), None),
        ("cost", float(levels[cost]), None),
    ]


def _at_least(score: FloatArray, among: BoolArray, levels: FloatArray) -> npt.NDArray[np.int64]:
    """How many of `among` score at least each level."""
    own = np.sort(score[among])
    return np.asarray(len(own) - np.searchsorted(own, levels, side="left"), dtype=np.int64)


def counts(score: FloatArray, positive: BoolArray, threshold: float) -> dict[str, Any]:
    """TP, FN, FP and TN at a threshold, with sensitivity and specificity; None of nothing."""
    called = score >= threshold
    tp, fn = int((called & positive).sum()), int((~called & positive).sum())
    fp, tn = int((called & ~positive).sum()), int((~called & ~positive).sum())
    return {
        "TP": tp, "FN": fn, "FP": fp, "TN": tn,
        "sensitivity": tp / (tp + fn) if tp + fn else None,
        "specificity": tn / (tn + fp) if tn + fp else None,
    }  # fmt: skip


def at_prevalences(
    sensitivity: float | None, specificity: float | None, prevalences: Sequence[float]
) -> list[dict[str, float | None]]:
    """PPV and NPV where another share of cells is positive than in the test set, by Bayes' rule."""
    rows: list[dict[str, float | None]] = []
    for share in prevalences:
        ppv = npv = None
        if sensitivity is not None and specificity is not None:
            alarm = sensitivity * share + (1 - specificity) * (1 - share)
            clear = specificity * (1 - share) + (1 - sensitivity) * share
            ppv = sensitivity * share / alarm if alarm else None
            npv = specificity * (1 - share) / clear if clear else None
        rows.append({"prevalence": share, "ppv": ppv, "npv": npv})
    return rows


def decision_curve(score: FloatArray, positive: BoolArray) -> list[dict[str, float | int]]:
    """Net benefit per image of calling by the model, of calling every image positive, and of none (0).

    Vickers and Elkin 2006, Med Decis Making 26:565: TP/n - FP/n x t/(1 - t), where t is the probability from which on
    one would act.
    """
    images, share = len(score), float(positive.mean())
    rows: list[dict[str, float | int]] = []
    for percent in range(5, 100, 5):
        t = percent / 100
        found = counts(score, positive, t)
        rows.append({
            "threshold": t,
            "TP": found["TP"],
            "FP": found["FP"],
            "model": (found["TP"] - found["FP"] * t / (1 - t)) / images,
            "all": share - (1 - share) * t / (1 - t),
        })  # fmt: skip
    return rows
