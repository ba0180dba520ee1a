"""Each subject by itself: how many of its cells are predicted to be what."""

from typing import Any

import numpy as np

from job.evaluation.blocks import Block
from job.evaluation.intervals import exact


def assess(block: Block) -> dict[str, Any]:
    """One model's cells by subject, those with the lowest accuracy first.

    With two classes the share that is predicted positive has an exact interval, of that person alone.
    """
    cells = block.cells
    classes = len(cells.dataset.classes)
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
    if len(cells.dataset.reported) == 1:
        (positive,) = cells.dataset.reported
        for s, row in enumerate(rows):
            low, high = exact(int(predicted[s, positive]), int(images[s]))
            row |= {"share_positive": float(predicted[s, positive] / images[s]), "low": low, "high": high}
    rows.sort(key=lambda row: (row["accuracy"], -row["images"], row["subject"]))
    return {"model": block.model, "role": block.role, "subjects": rows}
