"""The split as evidence sees it: which images each fold must have predicted, and proof that nobody is on both sides."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from job.errors import UserError
from job.evaluation.reading import FIRST_LINE, REMEDY, Dataset, check_unique, class_indices, integers, read_table

COLUMNS = ("row", "image", "subject", "role", "fold", "half", "pool", "label")
ROLES = ("train", "test", "unlabelled")


@dataclass(frozen=True)
class Split:
    """data/split.csv. `table` has one row per image in file order; `fold` is 0 outside the training images."""

    path: Path
    table: pd.DataFrame

    def images(self, role: str, fold: int) -> list[str]:
        """Images that fold `fold` predicts in `role` (validation, masked, test or unlabelled), in file order.

        Role `taught` are those that its students learned from without labels.
        """
        table = self.table
        train = table["role"] == "train"
        rows = {
            "validation": train & (table["fold"] == fold),
            "masked": train & (table["fold"] != fold) & (table["half"] == "masked"),
            "test": table["role"] == "test",
            "unlabelled": table["role"] == "unlabelled",
            "taught": (table["pool"] == "1") & (table["fold"] != fold),
        }[role]
        return table.loc[rows, "image"].tolist()

    def train(self) -> pd.DataFrame:
        """The training rows."""
        return self.table[self.table["role"] == "train"]


def read_split(path: Path, dataset: Dataset) -> Split:
    """Read data/split.csv and check it again.

    Raises:
        UserError: a column is missing, an image occurs twice, a role or a training label is unknown, or a subject has
            both training and test images.
    """
    table = read_table(path, COLUMNS)
    check_unique(path, table)
    unknown = np.flatnonzero(~table["role"].isin(ROLES))
    if unknown.size:
        where = f"line {unknown[0] + FIRST_LINE}, column 'role'"
        value = table["role"].iloc[unknown[0]]
        raise UserError(f"{path}: {where}: {value!r} is not one of {', '.join(ROLES)}: {REMEDY}")
    train = table["role"] == "train"
    table["fold"] = table["fold"].where(train, "0")
    table["fold"] = integers(path, table, "fold")
    class_indices(path, table[train], "label", dataset)
    shared = sorted(set(table.loc[train, "subject"]) & set(table.loc[table["role"] == "test", "subject"]))
    if shared:
        raise UserError(
            f"{path}: subject {shared[0]} has training and test images ({len(shared)} such subjects): {REMEDY}"
        )
    return Split(path, table)
