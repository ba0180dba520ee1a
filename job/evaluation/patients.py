"""Each subject by itself: how many of its cells were called what, and what a rule would say of the person."""

from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics as sk

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray
from job.evaluation import intervals
from job.evaluation.scored import Block


def assess(block: Block, truth: pd.DataFrame, dataset: Dataset, blast_share: float) -> dict[str, Any]:
    """One model's cells by subject, those with the lowest accuracy first.

    With two classes the person is called positive when at least `blast_share` of the cells are, and is positive in
    truth when at least that share is: an all-or-nothing matter where subjects hold cells of one class. Intervals are
    exact: of a share of one person's cells, or of persons, who are independent of each other.

    Args:
        block: the model's predictions.
        truth: what `scored.read_truth` returned.
        dataset: the classes.
        blast_share: share of positive cells from which on a person counts as positive.
    """
    known = truth.loc[block.images]
    cells = pd.DataFrame({
        "subject": known["subject"].to_numpy(),
        "patient": known["patient"].to_numpy(),
        "truth": known["truth"].to_numpy(),
        "predicted": block.predicted,
    })  # fmt: skip
    positive = dataset.reported[0] if len(dataset.reported) == 1 else None
    if positive is not None:
        cells["score"] = block.probabilities[:, positive]
    rows = [_row(str(name), own, dataset, positive, blast_share) for name, own in cells.groupby("subject", sort=True)]
    rows.sort(key=lambda row: (row["accuracy"], -row["images"], row["subject"]))
    accuracy = np.array([row["accuracy"] for row in rows])
    entry: dict[str, Any] = {
        "model": block.model,
        "role": block.role,
        "subjects": rows,
        "accuracy": {
            "lowest": float(accuracy.min()),
            **{name: float(np.quantile(accuracy, q)) for name, q in (("q1", 0.25), ("median", 0.5), ("q3", 0.75))},
            "highest": float(accuracy.max()),
            "mean": float(accuracy.mean()),
            "deviation": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else None,
        },
    }
    return entry | (_as_persons(rows, blast_share) if positive is not None else {})


def _row(name: str, cells: pd.DataFrame, dataset: Dataset, positive: int | None, blast_share: float) -> dict[str, Any]:
    count = len(dataset.classes)
    held = np.bincount(cells["truth"], minlength=count)
    called = np.bincount(cells["predicted"], minlength=count)
    right = int((cells["truth"] == cells["predicted"]).sum())
    row: dict[str, Any] = {
        "subject": name,
        "patients": sorted(set(cells["patient"]) - {""}),
        "images": len(cells),
        "truth": held.tolist(),
        "called": called.tolist(),
        "right": right,
        "accuracy": right / len(cells),
    }
    if positive is not None:
        low, high = intervals.exact(int(called[positive]), len(cells))
        share = float(called[positive] / len(cells))
        row |= {
            "share_positive": share,
            "low": low,
            "high": high,
            "mean_score": float(cells["score"].mean()),
            "positive": bool(held[positive] / len(cells) >= blast_share),
            "called_positive": share >= blast_share,
        }
    return row


def _as_persons(rows: list[dict[str, Any]], blast_share: float) -> dict[str, Any]:
    truth = np.array([row["positive"] for row in rows])
    called = np.array([row["called_positive"] for row in rows])
    score: FloatArray = np.array([row["mean_score"] for row in rows])
    ranked = 0 < truth.sum() < len(truth)
    return {
        "rule": {
            "blast_share": blast_share,
            "sensitivity": _share(int((called & truth).sum()), int(truth.sum())),
            "specificity": _share(int((~called & ~truth).sum()), int((~truth).sum())),
        },
        "auroc": float(sk.roc_auc_score(truth, score)) if ranked else None,
        "undefined": {} if ranked else {"auroc": "the persons are all of one class"},
    }


def _share(part: int, whole: int) -> dict[str, Any]:
    """A share of persons with its counts and exact interval; None of nobody."""
    low, high = intervals.exact(part, whole) if whole else (None, None)
    return {"right": part, "of": whole, "value": part / whole if whole else None, "low": low, "high": high}
