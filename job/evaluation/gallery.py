"""Which cells a person should look at: each method's surest errors and the cells that it is least sure of."""

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
    tested = predictions[predictions["role"] == "test"].set_index("image", drop=False)
    for method in methods:
        table = tested[tested["model"] == f"{method}/majority"].assign(method=method)
        mean = tested[tested["model"] == f"{method}/mean"].reindex(table.index)
        p = mean[[f"p_{name}" for name in classes]].to_numpy()
        lower, higher = np.sort(p, axis=1)[:, -2:].T
        predicted = [list(classes).index(name) for name in table["predicted"]]
        table = table.assign(confidence=p[np.arange(len(p)), predicted], margin=higher - lower).reset_index(drop=True)
        wrong = table[table["label"] != table["predicted"]]
        wrong = wrong.sort_values(["confidence", "image"], ascending=[False, True])
        groups = [("error", wrong[wrong["label"] == name]) for name in classes]
        groups.append(("uncertain", table.sort_values(["margin", "image"])))
        parts += [rows.head(each).assign(group=group, of=len(rows)) for group, rows in groups]
    return pd.concat(parts, ignore_index=True)[["method", "group", "label", "predicted", "image", "of"]]
