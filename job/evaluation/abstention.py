"""Leaving doubtful cells to a pathologist: how the error among the rest falls as more are refused."""

from typing import Any

import numpy as np
import numpy.typing as npt

from job.contracts.tables import FloatArray

POINTS = 50


def risk_coverage(confidence: FloatArray, right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Errors among the images of which a model is surest, for a falling demand (El-Yaniv and Wiener 2010).

    Images of equal confidence are kept or refused together.

    Args:
        confidence: such as the highest probability, or the share of voters who agree; shape (images,).
        right: whether the call is right, shape (images,).

    Returns:
        `curve`: at most 51 points, each with the least `confidence` kept, `kept` images, `coverage`, `errors` and
        `error` (their share of the kept); `area`: mean error over all images as the last one kept.
    """
    levels, kept, errors = _levels(confidence, right)
    shown = np.unique(np.linspace(0, len(levels) - 1, min(len(levels), POINTS + 1)).round().astype(int))
    curve = [_point(levels[i], kept[i], errors[i], len(right)) for i in shown]
    # Every image of a level is kept with the whole level.
    area = float((np.diff(kept, prepend=0) * errors / kept).sum() / len(right))
    return {"curve": curve, "area": area}


def choose(confidence: FloatArray, right: npt.NDArray[np.bool_], error: float) -> float | None:
    """The least confidence at which the kept images' error is at most `error`, with as many kept as possible.

    None where no demand is high enough. Choose it on validation images.
    """
    levels, kept, errors = _levels(confidence, right)
    reached = np.flatnonzero(errors / kept <= error)
    return float(levels[reached[-1]]) if reached.size else None


def kept_above(confidence: FloatArray, right: npt.NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """What a threshold keeps: a point as in `risk_coverage`, with the share that a pathologist still sees."""
    keep = confidence >= threshold
    point = _point(threshold, int(keep.sum()), int((~right[keep]).sum()), len(right))
    return point | {"refused": len(right) - point["kept"], "share_refused": 1 - point["coverage"]}


def _levels(
    confidence: FloatArray, right: npt.NDArray[np.bool_]
) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct confidences, highest first; images and errors at or above each."""
    levels, position = np.unique(-confidence, return_inverse=True)
    kept = np.cumsum(np.bincount(position))
    errors = np.cumsum(np.bincount(position, weights=~right)).round().astype(np.int64)
    return -levels, kept, errors


def _point(threshold: float, kept: int, errors: int, images: int) -> dict[str, Any]:
    return {
        "confidence": float(threshold),
        "kept": int(kept),
        "coverage": kept / images,
        "errors": int(errors),
        "error": errors / kept if kept else None,
    }
