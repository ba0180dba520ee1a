"""What one fold of one method receives: images with labels, images without, and nothing of the test set.

Labels are masked here, where the data is handed over: the arrays of the unlabelled half carry no labels at all.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.errors import UserError
from job.files import existing
from job.training.batches import Rows


@dataclass(frozen=True)
class Labelled:
    """Rows of the pixel store and the class of each, as class numbers."""

    rows: Rows
    classes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One fold: `train` learns, `validation` chooses the checkpoint, `masked` has images whose labels are hidden.

    `unlabelled` is what self-training learns from without labels: the masked images, images that never had a label, or
    both, as the split says.
    """

    number: int
    train: Labelled
    validation: Labelled
    masked: Rows
    unlabelled: Rows


@dataclass(frozen=True)
class Split:
    """`split.csv` in memory; `names` maps a row of the pixel store to its image."""

    table: pd.DataFrame

    @classmethod
    def read(cls, path: Path) -> "Split":
        """Read the file and check again that no test subject trains.

        Raises:
            UserError: a subject is on both sides.
        """
        text = {"image": str, "subject": str, "role": str, "half": str, "label": str}
        table = pd.read_csv(existing(path), dtype=text, keep_default_na=False)
        table["fold"] = pd.to_numeric(table["fold"], errors="coerce").astype("Int64")
        sides = [set(table.loc[table["role"] == role, "subject"]) for role in ("train", "test")]
        if both := sorted(sides[0] & sides[1]):
            raise UserError(
                f"{path}: subject {both[0]} is in training and in the test set: run `dvc repro split` again"
            )
        return cls(table)

    def rows(self, role: str) -> Rows:
        """Rows of the pixel store of a role: `test` or `unlabelled`."""
        return self.table.loc[self.table["role"] == role, "row"].to_numpy(np.int64)

    def images(self, rows: Rows) -> list[str]:
        """Image paths of rows of the pixel store."""
        return list(self.table.set_index("row")["image"].reindex(rows))

    def fold(self, number: int, classes: tuple[str, ...], *, labels: str) -> Fold:
        """Hand over one fold.

        Args:
            number: the fold whose images validate.
            classes: class names in class order.
            labels: `all` gives every training image with its label; `half` gives the labelled half with labels and the
                masked half, or the images that the split names in its place, without.
        """
        training = self.table[self.table["role"] == "train"]
        rest = training[training["fold"] != number]
        masked = rest["half"] == "masked"
        pool = self.table[(self.table["pool"] == 1) & (self.table["fold"] != number).fillna(value=True)]
        if labels == "all":
            masked[:] = False
            pool = pool[:0]
        validation = training[training["fold"] == number]
        return Fold(
            number=number,
            train=_labelled(rest[~masked], classes),
            validation=_labelled(validation, classes),
            masked=rest.loc[masked, "row"].to_numpy(np.int64),
            unlabelled=pool["row"].to_numpy(np.int64),
        )


def _labelled(table: pd.DataFrame, classes: tuple[str, ...]) -> Labelled:
    numbers = {name: number for number, name in enumerate(classes)}
    classes_of = np.array([numbers[name] for name in table["label"]], dtype=np.int64)
    return Labelled(table["row"].to_numpy(np.int64), classes_of)
