"""`data/split.csv` as every stage reads it: who is held out, which fold validates an image, whose labels are masked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from job.contracts.tables import IntArray, check_one_of, check_unique, class_indices, integers, read_table, refuse
from job.errors import UserError

COLUMNS = ("row", "image", "subject", "role", "fold", "half", "pool", "label")
ROLES = ("train", "test", "unlabelled", "left_out")  # left_out: on both sides (split.linked), or unseen (fold_K)
Rows = IntArray  # rows of the pixel store, (N,) int64


@dataclass(frozen=True)
class Labelled:
    """Rows of the pixel store with the class number of each, both (N,)."""

    rows: Rows
    classes: IntArray


@dataclass(frozen=True)
class Fold:
    """What one fold of one method receives: nothing of the test set, and no label that is masked.

    Self-training learns from `unlabelled` without labels: the masked images, images that never had a label, or both, as
    the split says.
    """

    number: int  # from 1
    train: Labelled  # the networks learn from these
    validation: Labelled  # these choose the checkpoint
    masked: Rows  # training images whose labels are hidden from the method
    unlabelled: Rows


@dataclass(frozen=True)
class Split:
    """The split in memory. `table` has the columns `COLUMNS`; `fold` is 0 outside the training images."""

    path: Path
    table: pd.DataFrame

    def train(self) -> pd.DataFrame:
        """The training rows."""
        return self.table[self.table["role"] == "train"]

    def select(self, role: str, fold: int = 0) -> pd.DataFrame:
        """The rows that a fold predicts in a role (`validation`, `masked`, `test`, `unlabelled`), in file order.

        The role `taught` are those that the fold's students learn from without labels. `test` and `unlabelled` are the
        same for every fold.
        """
        table = self.table
        train, other_fold = table["role"] == "train", table["fold"] != fold
        rows = {
            "validation": train & ~other_fold,
            "masked": train & other_fold & (table["half"] == "masked"),
            "test": table["role"] == "test",
            "unlabelled": table["role"] == "unlabelled",
            "taught": (table["pool"] == 1) & other_fold,
        }[role]
        return table[rows]

    def images(self, role: str, fold: int = 0) -> list[str]:
        """Image names of `select`."""
        return self.select(role, fold)["image"].tolist()

    def rows(self, role: str, fold: int = 0) -> Rows:
        """Rows of the pixel store of `select`."""
        return self.select(role, fold)["row"].to_numpy(np.int64)

    def names(self, rows: Rows) -> list[str]:
        """Image names of rows of the pixel store."""
        return list(self.table.set_index("row")["image"].reindex(rows))

    def fold(self, number: int, classes: tuple[str, ...], *, labels: str) -> Fold:
        """Hand over one fold. Masked labels are masked here: rows without labels carry nothing else.

        With `labels="all"` every training image comes with its label; with `half` the labelled half does, and the
        masked half, or the images that the split names in its place, come without.
        """
        rest = self.train()[self.train()["fold"] != number]
        nobody = np.empty(0, dtype=np.int64)
        return Fold(
            number=number,
            train=self._labelled(rest if labels == "all" else rest[rest["half"] != "masked"], classes),
            validation=self._labelled(self.select("validation", number), classes),
            masked=nobody if labels == "all" else self.rows("masked", number),
            unlabelled=nobody if labels == "all" else self.rows("taught", number),
        )

    def check_halves(self, share: float, fold_by: str) -> None:
        """Refuse a split, made with these parameters, in which a fold has a class without labels, or nothing masked."""
        training = self.train()
        for number in sorted(set(training["fold"])):
            rest = training[training["fold"] != number]
            missing = set(training["label"]) - set(rest.loc[rest["half"] == "labelled", "label"])
            if missing or self.select("taught", number).empty:
                what = f"class {min(missing)} has no labelled image" if missing else "no image is masked"
                # Whole subjects are masked with folds by subject: where a fold has one of a class, no share can help.
                advice = "set split.fold_by=image" if fold_by == "subject" else "choose a share nearer to 0.5"
                where = f"split.labelled_share={share}: with fold {number} left out {what}"
                raise UserError(f"{where}: {advice}, or add patients")

    def _labelled(self, table: pd.DataFrame, classes: tuple[str, ...]) -> Labelled:
        return Labelled(table["row"].to_numpy(np.int64), class_indices(self.path, table, "label", classes))


def read_split(path: Path, classes: tuple[str, ...]) -> Split:
    """Read the file and check it again: a UserError says, among others, that a subject is in training and test."""
    table = read_table(path, COLUMNS)
    check_unique(path, table)
    check_one_of(path, table, "role", ROLES)
    train = table["role"] == "train"
    table["fold"] = table["fold"].where(train, "0")
    for column in ("row", "fold", "pool"):
        table[column] = integers(path, table, column)
    class_indices(path, table[train], "label", classes)
    tested = table["subject"].isin(table.loc[table["role"] == "test", "subject"])
    refuse(path, table[train & tested], "subject", "has training and test images")
    return Split(path, table)
