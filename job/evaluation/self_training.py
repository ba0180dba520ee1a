"""How often the pseudo-labels were correct that each student learned from: the trace of confirmation bias.

Pseudo-labels carry no truth; it is joined here, after all training has ended (Arazo et al. 2020, arXiv:1908.02983,
describe how wrong pseudo-labels confirm themselves).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.predictions import in_order
from job.contracts.split import Split
from job.contracts.tables import REMEDY, FloatArray, IntArray, class_indices, floats, integers, read_table
from job.errors import UserError
from job.evaluation.blocks import Truth


def trace(run: Path, fold: int, split: Split, truth: Truth) -> list[dict[str, Any]]:
    """Compare every pseudo_labels.csv of a run (runs/METHOD/fold-K) with the truth and with the one before it.

    There is an entry per iteration, none for a run that did not iterate. Of all pseudo-labels: `images`; share that is
    `correct` (None where no image has a truth); `share_positive` (None with more than two classes); `agreement`, the
    share equal to the iteration before (None for the first). Of those that the student learned from: `kept`, the share
    of images that an epoch has at least once; `correct_kept`, weighted by how often it has them. `balance` counts by
    class: `labels` and `kept` (weighted), `truth` where there is one. `confidence` has the `mean`.
    """
    if not (run / "iterations").is_dir():
        return []
    numbers = sorted(int(path.parent.name) for path in run.glob("iterations/*/pseudo_labels.csv"))
    if not numbers:
        raise UserError(f"{run} holds no iterations/*/pseudo_labels.csv: {REMEDY}")
    images = split.images("taught", fold)
    dataset = truth.dataset
    position = {name: c for c, name in enumerate(dataset.classes)}
    classes = np.array([position.get(label, np.nan) for label in truth.labels(images)])
    entries: list[dict[str, Any]] = []
    before: IntArray | None = None
    for number in numbers:
        labels = _read(run / "iterations" / str(number) / "pseudo_labels.csv", images, fold, dataset)
        agreement = None if before is None else float(np.mean(labels["label"] == before))
        compared = _compared(labels, classes, dataset)
        entries.append({"fold": fold, "iteration": number, **compared, "agreement": agreement})
        before = labels["label"].to_numpy()
    return entries


def _read(path: Path, images: list[str], fold: int, dataset: Dataset) -> pd.DataFrame:
    """One file in the order of the split: class number, confidence, and how often an epoch has the image."""
    table = read_table(path, ["image", "label", "confidence", "times"])
    table["label"] = class_indices(path, table, "label", dataset.classes)
    table["confidence"], table["times"] = floats(path, table, "confidence"), integers(path, table, "times")
    return in_order(path, table, images, f"pseudo-labelled image of fold {fold}")


def _compared(labels: pd.DataFrame, truth: FloatArray, dataset: Dataset) -> dict[str, Any]:
    """One iteration beside the truth, which is NaN where there is none."""
    classes, confidence, times = (labels[name].to_numpy() for name in ("label", "confidence", "times"))
    has_truth = ~np.isnan(truth)
    correct = classes == truth
    learned = times * has_truth
    positive = dataset.reported[0] if len(dataset.reported) == 1 else None
    return {
        "images": len(truth),
        "correct": float(np.mean(correct[has_truth])) if has_truth.any() else None,
        "share_positive": None if positive is None else float(np.mean(classes == positive)),
        "kept": float(np.mean(times > 0)),
        "correct_kept": float(np.sum(learned * correct) / np.sum(learned)) if learned.any() else None,
        "balance": {
            "labels": _counts(classes, dataset),
            "kept": _counts(np.repeat(classes, times), dataset),
            "truth": _counts(truth[has_truth].astype(np.int64), dataset) if has_truth.any() else None,
        },
        "confidence": {"mean": float(np.mean(confidence))},
    }


def _counts(classes: IntArray, dataset: Dataset) -> list[int]:
    return list(map(int, np.bincount(classes, minlength=len(dataset.classes))))
