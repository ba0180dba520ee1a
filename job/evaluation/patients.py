"""Each subject by itself: how many of its cells are predicted to be what, and how well persons are ranked."""

from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics as sk

from job.evaluation.blocks import Block
from job.evaluation.intervals import exact


def assess(block: Block) -> dict[str, Any]:
    """One model's cells by subject, those with the lowest accuracy first.

    Intervals of one person's share of cells are exact, and of that person. With two classes persons are also ranked by
    the mean score of their cells; a person with any cell of the positive class is positive in truth.
    """
    cells = block.cells
    dataset, classes = cells.dataset, len(cells.dataset.classes)
    counts = np.zeros((len(cells.names), classes, classes), np.int64)
    np.add.at(counts, (cells.subject, cells.truth, block.predicted), 1)
    truth, predicted, correct = counts.sum(axis=2), counts.sum(axis=1), counts.diagonal(axis1=1, axis2=2)
    images = truth.sum(axis=1)
    accuracy = correct.sum(axis=1) / images
    patients = cells.table.groupby(cells.subject)["patient"].agg(lambda names: sorted(set(names) - {""}))
    rows: list[dict[str, Any]] = [
        {
            "subject": name,
            "patients": patients[s],
            "images": int(images[s]),
            "truth": truth[s].tolist(),
            "predicted": predicted[s].tolist(),
            "correct": int(correct[s].sum()),
            "accuracy": float(accuracy[s]),
        }
        for s, name in enumerate(cells.names)
    ]
    entry: dict[str, Any] = {"model": block.model, "role": block.role}
    if len(dataset.reported) == 1:
        (positive,) = dataset.reported
        score = np.bincount(cells.subject, weights=block.probabilities[:, positive]) / images
        for s, row in enumerate(rows):
            low, high = exact(int(predicted[s, positive]), int(images[s]))
            share = float(predicted[s, positive] / images[s])
            row |= {"share_positive": share, "low": low, "high": high, "mean_score": float(score[s])}
        ill = truth[:, positive] > 0
        pairs = int(ill.sum() * (~ill).sum())
        entry |= {"auroc": float(sk.roc_auc_score(ill, score)) if pairs else None, "pairs": pairs}
    spread = {
        name: _spread(correct[truth[:, c] > 0, c] / truth[truth[:, c] > 0, c]) for c, name in enumerate(dataset.classes)
    }
    rows.sort(key=lambda row: (row["accuracy"], -row["images"], row["subject"]))
    return entry | {"subjects": rows, "accuracy": spread}


def _spread(shares: Any) -> dict[str, float | int | None]:
    """How the subjects of one class differ in their share of correct cells; None where the class has no subject."""
    quantiles = pd.Series(shares, dtype=float).quantile([0, 0.25, 0.5, 0.75, 1])
    names = ("lowest", "q1", "median", "q3", "highest")
    return {"subjects": len(shares)} | {
        name: None if np.isnan(value) else float(value) for name, value in zip(names, quantiles, strict=True)
    }
