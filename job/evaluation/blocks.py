"""Predictions joined with the truth, once: every figure of the evidence follows from a `Block`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.split import Split
from job.contracts.tables import REMEDY, FloatArray, IntArray, check_unique, class_indices, read_table
from job.errors import UserError
from job.temperature import logits, tempered

KEYS = ("model", "method", "kind", "rule", "fold", "iteration", "role")
CELL_COLUMNS = ["row", "image", "patient", "subject", "label"]


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells that a model predicted, joined with their subjects and classes."""

    dataset: Dataset
    table: pd.DataFrame  # the columns `CELL_COLUMNS`, one row per cell
    truth: IntArray  # class numbers, shape (cells,)
    names: list[str]  # the subjects, sorted
    subject: IntArray  # position of each cell's subject in `names`, shape (cells,)

    @classmethod
    def of(cls, table: pd.DataFrame, dataset: Dataset) -> Cells:
        """Group the rows of a table with the columns `CELL_COLUMNS` by subject; every label is one of the classes."""
        names, subject = np.unique(table["subject"].to_numpy(dtype=object), return_inverse=True)
        truth = pd.Index(dataset.classes).get_indexer(pd.Index(table["label"])).astype(np.int64)
        return cls(dataset, table[CELL_COLUMNS].reset_index(drop=True), truth, names.tolist(), subject)

    def __len__(self) -> int:
        return len(self.truth)


class Truth:
    """Who every labelled image is of, and what it shows."""

    def __init__(self, table: pd.DataFrame, dataset: Dataset) -> None:
        """`table` has the columns `CELL_COLUMNS` and names each image once."""
        self.dataset = dataset
        self._table = table.set_index("image", drop=False)

    def cells(self, images: list[str]) -> Cells:
        """These images in this order."""
        return Cells.of(self._table.loc[images], self.dataset)

    def labels(self, images: list[str]) -> pd.Series[str]:
        """Their classes by name, NaN of images without a truth."""
        return self._table["label"].reindex(images)


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One model's predictions for the cells of one role; without voters, `votes` and `ties` are None."""

    model: str  # name, such as `efficientnet/fold-1`; with `role`, what identifies the block
    kind: str  # fold, iteration (a teacher or student), ensemble, out_of_fold or baseline
    role: str
    cells: Cells
    probabilities: FloatArray  # shape (cells, classes), rows summing to one
    predicted: IntArray  # numbers of the predicted classes, shape (cells,)
    votes: IntArray | None = None  # how many voters predicted each class, shape (cells, classes)
    ties: int | None = None  # cells on which the rule of the vote was undecided
    method: str | None = None
    rule: str | None = None
    fold: int | None = None
    iteration: int | None = None

    @classmethod
    def most_probable(cls, cells: Cells, probabilities: FloatArray, **keys: Any) -> Block:
        """Predictions of the most probable class."""
        return cls(cells=cells, probabilities=probabilities, predicted=probabilities.argmax(axis=1), **keys)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each cell's class is predicted, shape (cells,)."""
        return np.asarray(self.predicted == self.cells.truth)

    @property
    def confidence(self) -> FloatArray:
        """Probability of the predicted class, shape (cells,)."""
        return np.asarray(self.probabilities[np.arange(len(self.cells)), self.predicted])

    def at_temperature(self, temperature: float) -> Block:
        """The same model with tempered probabilities; the most probable class is predicted."""
        probabilities = np.asarray(tempered(logits(self.probabilities), temperature), np.float64)
        return replace(self, probabilities=probabilities, predicted=probabilities.argmax(axis=1))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A method with what was fitted on its validation cells."""

    name: str  # of the method
    temperature: float  # fitted on `validation`
    validation: Block  # each cell predicted by a model that did not train on it
    mean: Block  # the test cells: the mean of the folds' logits
    calibrated: Block  # the same, divided by the temperature
    majority: Block | None = None  # the test cells by majority vote; None where there are no voters

    @cached_property
    def validated(self) -> Block:
        """`validation` at the temperature: what thresholds and confidences are chosen on."""
        return self.validation.at_temperature(self.temperature)


def read_truth(path: Path, split: Split, dataset: Dataset) -> Truth:
    """Read data/truth.csv; a UserError where an image occurs twice or is missing, or it contradicts the split."""
    table = read_table(path, ["image", "patient", "subject", "label"])
    check_unique(path, table)
    class_indices(path, table, "label", dataset.classes)
    by_image = table.set_index("image")
    labelled = split.table[split.table["role"] != "unlabelled"]
    for image, role in zip(labelled["image"], labelled["role"], strict=True):
        if image not in by_image.index:
            raise UserError(f"{path}: {image}, a {role} image of {split.path}, is missing: {REMEDY}")
    for column, rows in (("subject", labelled), ("label", split.train())):
        differs = rows[column].to_numpy() != by_image.loc[rows["image"], column].to_numpy()
        if differs.any():
            image = rows["image"].to_numpy()[differs][0]
            raise UserError(f"{path}: {image} has another {column} than in {split.path}: {REMEDY}")
    row = split.table.set_index("image")["row"].reindex(table["image"]).astype("Int64")
    return Truth(table.assign(row=row.to_numpy()), dataset)


def predictions_table(blocks: list[Block]) -> pd.DataFrame:
    """Every block as the rows of results/predictions.csv: `KEYS, CELL_COLUMNS, p_<CLASS>…, predicted, votes_<CLASS>…`.

    Keys that a model lacks are empty, and so are the votes where there are no voters.
    """
    parts = []
    for block in blocks:
        dataset = block.cells.dataset
        part = block.cells.table.copy()
        for position, name in enumerate(KEYS):
            value = getattr(block, name)
            part.insert(position, name, "" if value is None else str(value))
        part[dataset.probability_columns] = block.probabilities
        part["predicted"] = np.array(dataset.classes, dtype=object)[block.predicted]
        part[dataset.vote_columns] = "" if block.votes is None else block.votes.astype(object)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
