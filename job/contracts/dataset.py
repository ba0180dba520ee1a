"""The classes of a data set, in class order, and the one that counts as positive."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from job.contracts.tables import REMEDY
from job.errors import UserError
from job.files import read_json

BACKGROUND = 30
"""Brightest channel value that still counts as black: saving as JPEG leaves noise around a cell, up to 26 in C-NMC."""

_LEAST_BODY = 0.05  # of the area of all: what is smaller is debris


def bodies(cell: npt.NDArray[np.bool_]) -> int:
    """Number of separate bodies in a picture, (H, W), that is true where something is brighter than the background."""
    return int((np.bincount(ndimage.label(cell)[0].ravel())[1:] > _LEAST_BODY * cell.sum()).sum())


@dataclass(frozen=True)
class Dataset:
    """What the predictions are about."""

    name: str  # for people
    synthetic: bool  # whether a program drew the images
    classes: tuple[str, ...]  # names in class order; a class number is a position in it
    positive: str | None  # the class that sensitivity speaks of; None with more than two classes
    patients_known: bool = True  # False where every image counts as a subject of its own

    @property
    def probability_columns(self) -> list[str]:
        """Names of the probability columns, in class order, such as `p_HEM, p_ALL`."""
        return [f"p_{name}" for name in self.classes]

    @property
    def vote_columns(self) -> list[str]:
        """Names of the vote columns, in class order."""
        return [f"votes_{name}" for name in self.classes]

    @property
    def reported(self) -> list[int]:
        """Class numbers that figures of one class against the rest speak of.

        The positive class where there are two, every class (their average is reported) where there are more.
        """
        if len(self.classes) == 2 and self.positive is not None:
            return [self.classes.index(self.positive)]
        return list(range(len(self.classes)))


def read_dataset(path: Path) -> Dataset:
    """Read `data/prepared/summary.json`; a UserError where it is missing, is not JSON, or lacks a key."""
    summary = read_json(path)
    try:
        name, synthetic, classes, positive = (summary[key] for key in ("name", "synthetic", "classes", "positive"))
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing: {REMEDY}") from None
    if positive not in (classes if len(classes) == 2 else [*classes, None]):
        raise UserError(f"{path}: positive class {positive!r} is not one of {classes}: {REMEDY}")
    return Dataset(name, synthetic, tuple(classes), positive, summary.get("patients_known", True))
