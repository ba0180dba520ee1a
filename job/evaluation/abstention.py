"""Leaving doubtful cells to a pathologist: how the error among the rest falls as more are refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from job.contracts.tables import FloatArray, IntArray
from job.evaluation.thresholds import BoolArray, between

POINTS = 50
FEWEST = 10
"""Cells at which a curve ends: an error among fewer is no figure."""


def risk_coverage(confidence: FloatArray, correct: BoolArray) -> dict[str, Any]:
    """Errors among the cells of which a model is surest, for a falling demand (El-Yaniv and Wiener 2010).

    Cells of equal confidence are kept or refused together.

    Args:
        confidence: such as the highest probability, or the share of voters who agree; shape (cells,).
        correct: whether the prediction is correct, shape (cells,).

    Returns:
        `curve`: at most 51 points of at least `FEWEST` cells, or of all, each with the least `confidence` kept, `kept`
        cells, `coverage`, `errors` and `error` (their share of the kept); `area`: mean error over all cells as the last
        one kept.
    """
    levels, kept, errors = _levels(confidence, correct)
    first = int(np.argmax(kept >= min(FEWEST, len(correct))))
    shown = np.unique(np.linspace(first, len(levels) - 1, min(len(levels) - first, POINTS + 1)).round().astype(int))
    curve = [_point(levels[i], kept[i], errors[i], len(correct)) for i in shown]
    # Every cell of a level is kept with the whole level.
    area = float((np.diff(kept, prepend=0) * errors / kept).sum() / len(correct))
    return {"curve": curve, "area": area}


def choose(confidence: FloatArray, correct: BoolArray, error: float) -> float | None:
    """The least confidence at which the kept cells' error is at most `error`, with as many kept as possible.

    None where no demand is high enough. Choose it on validation cells.
    """
    levels, kept, errors = _levels(confidence, correct)
    reached = np.flatnonzero(errors / kept <= error)
    return float(between(levels)[reached[-1]]) if reached.size else None


def kept_above(confidence: FloatArray, correct: BoolArray, threshold: float) -> dict[str, Any]:
    """What a threshold keeps: a point as in `risk_coverage`, with the share that a pathologist still sees."""
    keep = confidence >= threshold
    point = _point(threshold, int(keep.sum()), int((~correct[keep]).sum()), len(correct))
    return point | {"refused": len(correct) - point["kept"], "share_refused": 1 - point["coverage"]}


def _levels(confidence: FloatArray, correct: BoolArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Distinct confidences, highest first; cells and errors at or above each."""
    levels, position = np.unique(-confidence, return_inverse=True)
    kept = np.cumsum(np.bincount(position))
    errors = np.cumsum(np.bincount(position, weights=~correct)).round().astype(np.int64)
    return -levels, kept, errors


def _point(threshold: float, kept: int, errors: int, cells: int) -> dict[str, Any]:
    return {
        "confidence": float(threshold),
        "kept": int(kept),
        "coverage": kept / cells,
        "errors": int(errors),
        "error": errors / kept if kept else None,
    }
