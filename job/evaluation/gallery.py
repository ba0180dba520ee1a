"""Which cells a person should look at: surest errors, closest calls, and sure and correct ones to compare with."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

COMPARED = 6
"""Cells of each class that are shown for comparison."""


def cells(predictions: pd.DataFrame, methods: Sequence[str], classes: Sequence[str], each: int) -> pd.DataFrame:
    """Choose test cells from `results/predictions.csv` by the majority vote and the mean probability of each method.

    The columns are `method, group, label, predicted, image, of`. Group `error` holds cells of which the majority
    predicts another class than their own, one group per true class, the highest mean probability of the predicted class
    first; group `correct` in the same way the others, at most `COMPARED` of a class. Group `uncertain` holds the cells
    whose two highest mean probabilities are closest, correct or wrong. A group has at most `each` cells, `of` is its
    size before it was cut, and ties go by image.
    """
    parts = []
    tested = predictions[predictions["role"] == "test"].set_index("image", drop=False)
    for method in methods:
        table = tested[tested["model"] == f"{method}/majority"].assign(method=method)
        mean = tested[tested["model"] == f"{method}/mean"].reindex(table.index)
        p = mean[[f"p_{name}" for name in classes]].to_numpy()
        lower, higher = np.sort(p, axis=1)[:, -2:].T
        predicted = [list(classes).index(name) for name in table["predicted"]]
        table = table.assign(confidence=p[np.arange(len(p)), predicted], margin=higher - lower).reset_index(drop=True)
        surest = table.sort_values(["confidence", "image"], ascending=[False, True])
        wrong = surest["label"] != surest["predicted"]
        groups = [("error", surest[wrong & (surest["label"] == name)], each) for name in classes]
        groups += [("correct", surest[~wrong & (surest["label"] == name)], min(each, COMPARED)) for name in classes]
        groups.append(("uncertain", table.sort_values(["margin", "image"]), each))
        parts += [rows.head(most).assign(group=group, of=len(rows)) for group, rows, most in groups]
    return pd.concat(parts, ignore_index=True)[["method", "group", "label", "predicted", "image", "of"]]
