"""Which cells a person should look at: each method's surest errors and the cells that it is least sure of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def cells(predictions: pd.DataFrame, methods: Sequence[str], classes: Sequence[str], each: int) -> pd.DataFrame:
    """Choose test cells by the majority vote and the mean probability of each method's folds.

    Args:
        predictions: `results/predictions.csv`.
        methods: those to look at.
        classes: class names in class order.
        each: cells of a group at most.

    Returns:
        Columns `method, group, label, predicted, image, of`. Group `error` holds cells of which the majority predicts
        another class than their own, one group per true class, the highest mean probability of the predicted class
        first. Group `uncertain` holds the cells whose two highest mean probabilities are closest, correct or wrong.
        Ties go by image. `of` is the size of the group before it was cut to `each`.
    """
    parts = []
    for method in methods:
        tested = predictions[predictions["role"] == "test"]
        votes = tested[tested["model"] == f"{method}/majority"].set_index("image")
        mean = tested[tested["model"] == f"{method}/mean"].set_index("image")
        p = mean.reindex(votes.index)[[f"p_{name}" for name in classes]].to_numpy()
        predicted = [list(classes).index(name) for name in votes["predicted"]]
        two = np.sort(p, axis=1)[:, -2:]
        table = pd.DataFrame(
            {
                "method": method,
                "label": votes["label"],
                "predicted": votes["predicted"],
                "confidence": p[np.arange(len(p)), predicted],
                "margin": two[:, 1] - two[:, 0],
            }
        ).reset_index()
        wrong = table[table["label"] != table["predicted"]].sort_values(
            ["confidence", "image"], ascending=[False, True]
        )
        parts += [_first(wrong[wrong["label"] == name], "error", each) for name in classes]
        parts.append(_first(table.sort_values(["margin", "image"]), "uncertain", each))
    return pd.concat(parts, ignore_index=True)[["method", "group", "label", "predicted", "image", "of"]]


def _first(table: pd.DataFrame, group: str, each: int) -> pd.DataFrame:
    return table.head(each).assign(group=group, of=len(table))
