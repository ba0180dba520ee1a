"""What knowing nothing, or only the size of a cell, is worth on the test images."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job.contracts import paths
from job.contracts.split import Split
from job.contracts.tables import FloatArray, IntArray, integers, read_table
from job.errors import UserError


def read_index(split: Split) -> pd.DataFrame:
    """Read data/prepared/index.csv, indexed by image, with `box_w` and `box_h` as numbers.

    Raises:
        UserError: a value is wrong, or an image of the split is missing.
    """
    table = read_table(paths.INDEX, ["image", "patient", "box_w", "box_h"])
    for column in ("box_w", "box_h"):
        table[column] = integers(paths.INDEX, table, column)
    index = table.set_index("image")
    unknown = split.table.loc[~split.table["image"].isin(index.index), "image"]
    if len(unknown):
        raise UserError(f"{split.path}: {unknown.iloc[0]} is not in {paths.INDEX}: run `dvc repro`")
    return index


def log_area(index: pd.DataFrame) -> FloatArray:
    """Natural logarithm of the area of each cell's box, in square pixels of the original image, shape (rows,).

    An empty box (an image without a cell) counts as one square pixel. `index` is rows of what `read_index` returns.
    """
    return np.asarray(np.log((index["box_w"] * index["box_h"]).clip(lower=1)), np.float64)


def area(train_area: FloatArray, train_label: IntArray, test_area: FloatArray) -> FloatArray:
    """Logistic regression of the class on the standardised log area of the cell's box (scikit-learn, L2, C = 1).

    Classes are weighted so that each counts the same in total, as nothing is known of their shares among new patients.

    Args:
        train_area: `log_area` of the training images, shape (images,).
        train_label: positions of their classes, shape (images,).
        test_area: `log_area` of the images to judge.

    Returns:
        Probabilities, shape (test images, classes).

    Raises:
        UserError: the training images hold one class only.
    """
    if len(np.unique(train_label)) < 2:
        raise UserError("data/split.csv: the training images hold one class only, choose other patients in split.test")
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    model.fit(train_area[:, None], train_label)
    return np.asarray(model.predict_proba(test_area[:, None]), dtype=np.float64)
