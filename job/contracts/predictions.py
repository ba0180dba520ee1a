"""`predictions/METHOD/fold-K.csv`: what one fold's models say of images that they did not train on.

Iteration 0 is the fold's network, or the teacher of self-training; 1 and up are students. The highest iteration is the
fold's model, and the only one that predicts images of the role `unlabelled`.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.split import Split
from job.contracts.tables import REMEDY, check_one_of, check_unique, integers, probabilities, read_table, refuse
from job.errors import UserError

KEYS = ("row", "image", "role", "fold", "iteration", "views")
ROLES = ("validation", "masked", "test", "unlabelled")


def fold_rows(
    split: Split, role: str, fold: int, iteration: int, views: int, values: npt.NDArray[np.float32],
    classes: tuple[str, ...],
) -> pd.DataFrame:  # fmt: skip
    """Rows of the file for one model and one role.

    `values` are class probabilities of shape (images, classes) in the order of `split.rows(role, fold)`, each a mean
    over that many `views` of its image. The iteration of a model without self-training is 0.
    """
    keys = split.select(role, fold)[["row", "image"]].reset_index(drop=True)
    keys = keys.assign(role=role, fold=fold, iteration=iteration, views=views)
    return pd.concat([keys, pd.DataFrame(values, columns=[f"p_{name}" for name in classes])], axis=1)


def read_fold(path: Path, fold: int, split: Split, dataset: Dataset) -> pd.DataFrame:
    """Read predictions/METHOD/fold-K.csv: `row, image, role, fold, iteration, views, p_<CLASS>…`.

    It is ordered by iteration, role and position in the split; probabilities are float64 and sum to one. A UserError
    says that values are wrong, that an image is missing or occurs twice, or that the file is of another fold or split.
    """
    table = read_table(path, [*KEYS, *dataset.probability_columns])
    for column in ("row", "fold", "iteration", "views"):
        table[column] = integers(path, table, column)
    table[dataset.probability_columns] = probabilities(path, table, dataset.probability_columns)
    check_one_of(path, table, "role", ROLES)
    check_one_of(path, table, "fold", [fold])
    last = table["iteration"].max()
    parts = []
    for iteration in sorted(table["iteration"].unique()):
        for role in ROLES:
            rows = table[(table["iteration"] == iteration) & (table["role"] == role)]
            if len(rows) or (iteration == last and role != "masked"):
                parts.append(in_order(path, rows, split.images(role, fold), f"{role} image of fold {fold}"))
    if not parts:
        raise UserError(f"{path} holds no predictions: {REMEDY}")
    return pd.concat(parts, ignore_index=True)


def in_order(path: Path, rows: pd.DataFrame, expected: list[str], what: str) -> pd.DataFrame:
    """The rows in the order of `expected`: a UserError names an image that is missing, not expected, or there twice."""
    check_unique(path, rows)
    problem = f"is not a {what} in data/split.csv, so the file was made with another split"
    refuse(path, rows[~rows["image"].isin(expected)], "image", problem)
    present = set(rows["image"])
    if missing := next((image for image in expected if image not in present), None):
        raise UserError(f"{path}: {missing}, a {what} in data/split.csv, is missing: {REMEDY}")
    return pd.DataFrame(rows.set_index("image").loc[expected].reset_index())
