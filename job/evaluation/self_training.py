"""How right the pseudo-labels were that each student learned from: the trace of confirmation bias.

Pseudo-labels carry no truth; it is joined here, after all training has ended (Arazo et al. 2020, arXiv:1908.02983,
describe how wrong pseudo-labels confirm themselves).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from job.errors import UserError
from job.evaluation.pooling import in_order
from job.evaluation.reading import REMEDY, Dataset, class_indices, read_table
from job.evaluation.split import Split


def trace(run: Path, fold: int, split: Split, truth: pd.DataFrame, dataset: Dataset) -> list[dict[str, Any]]:
    """Compare every pseudo_labels.csv of a run with the truth and with the one before it.

    Args:
        run: runs/METHOD/fold-K.
        fold: K.
        split: the split; the pseudo-labelled images must be those it names for the fold's students.
        truth: what `scored.read_truth` returned.
        dataset: the classes.

    Returns:
        One entry per iteration, none for a run that did not iterate: share of pseudo-labels equal to the truth (None
        where no image has one), share of the positive class (None with more than two classes), and share equal to the
        iteration before (None for the
        first).

    Raises:
        UserError: there are no pseudo-labels, or they are wrong or belong to another split.
    """
    if not (run / "iterations").is_dir():
        return []
    numbers = sorted(int(path.parent.name) for path in run.glob("iterations/*/pseudo_labels.csv"))
    if not numbers:
        raise UserError(f"{run} holds no iterations/*/pseudo_labels.csv: {REMEDY}")
    images = split.images("taught", fold)
    right = truth["truth"].reindex(images).to_numpy()
    known = ~np.isnan(right)
    positive = dataset.reported[0] if len(dataset.reported) == 1 else None
    entries = []
    before = None
    for number in numbers:
        path = run / "iterations" / str(number) / "pseudo_labels.csv"
        table = in_order(path, read_table(path, ["image", "label"]), images, f"pseudo-labelled image of fold {fold}")
        labels = class_indices(path, table, "label", dataset)
        entries.append({
            "fold": fold,
            "iteration": number,
            "images": len(images),
            "right": float(np.mean(labels[known] == right[known])) if known.any() else None,
            "share_positive": None if positive is None else float(np.mean(labels == positive)),
            "agreement": None if before is None else float(np.mean(labels == before)),
        })  # fmt: skip
        before = labels
    return entries
