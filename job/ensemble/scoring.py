"""New cells through an ensemble: images read ahead in small numbers, scored in batches, one row each. Without torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from job.data import images, tree
from job.evaluation import votes
from job.inference import appearance

Points = Mapping[str, tuple[str, float | None, float, str | None]]
"""Operating points by name: a class, the calibrated probability from which on it is predicted, the temperature, and the
reason where there is no such probability."""


@dataclass(frozen=True)
class Manifest:
    """What an ensemble is, and how an image file becomes its input."""

    method: str
    members: Sequence[int]  # the folds that they were trained on
    classes: Sequence[str]  # names in class order
    size: int  # side in pixels that the networks see
    crop: int  # side of the crop before resizing, in pixels of the file; 0 keeps the whole image
    center: str  # of the crop, `cell` or `image`
    synthetic: bool = False  # whether the networks learned from cells that a program drew
    likeness: appearance.Ranges = field(default_factory=dict)  # what the training images are like
    points: Points = field(default_factory=dict)  # operating points, in a file that is passed on


class Ensemble(Protocol):
    """Several networks that judge the same images."""

    manifest: Manifest
    most_pixels: int  # of one batch, so that large images and many cores take no more memory than small ones and few

    def judge(self, pixels: images.Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Of images of shape (B, S, S, 3): probabilities of every member, (members, B, classes), and distances.

        Distances, (members, B), are those of the features that a member sees from those of its training images, as
        multiples of the largest usual one.
        """


Draw = Callable[[list[Path], images.Pixels, npt.NDArray[np.intp]], list[str]]
"""Draws a picture of each image, from files, pixels (B, S, S, 3) and predicted class numbers; their file names."""


@dataclass(frozen=True)
class Rule:
    """How the members' probabilities become a prediction.

    `threshold` is a class and the mean probability from which on it is predicted, else the most probable other class;
    None leaves it to the majority vote of the members. The mean is that of the members' logits, divided by
    `temperature`; at temperature 1 it is the mean probability.
    """

    threshold: tuple[str, float] | None = None
    temperature: float = 1.0
    min_agreement: float = 0.0  # the share of members that must vote alike; below it the ensemble abstains


def columns(manifest: Manifest, *, pictures: bool = False) -> list[str]:
    """Names of the columns of a row; with the name of a picture where pictures are drawn."""
    return [
        "image", "call", "agreement",
        *(f"p_{name}" for name in manifest.classes),
        *(f"votes_{name}" for name in manifest.classes),
        *(f"fold_{fold}_p_{name}" for fold in manifest.members for name in manifest.classes),
        *(["map"] if pictures else []),
        "problem",
    ]  # fmt: skip


def rows(
    files: list[Path], ensemble: Ensemble, rule: Rule, batch_size: int, draw: Draw | None = None
) -> Iterator[list[Any]]:
    """One row per file, in order; only a few batches of images are in memory, however many files there are.

    An image that cannot be read has its reason in the last column and no prediction. One that is unlike the training
    images has what sets it apart there, and the ensemble abstains. Probabilities are means over the members. `draw`
    makes a picture of each readable image, for the class that is predicted, or would be where the ensemble abstains.
    """
    manifest = ensemble.manifest
    results = images.read_all(files, manifest.size, manifest.crop, manifest.center, ahead=2 * batch_size)
    batches = zip(files, results, strict=True)
    empty = [""] * (len(columns(manifest, pictures=draw is not None)) - 2)
    while batch := list(islice(batches, batch_size)):
        readable = [(file, result[0]) for file, result in batch if not isinstance(result, str)]
        scored: list[list[Any]] = []
        if readable:
            pixels = np.stack([image for _, image in readable])
            probabilities, distances = ensemble.judge(pixels)
            predicted, scored = verdicts(probabilities, rule, manifest)
            unlike = appearance.problems(pixels, manifest.likeness, distances.mean(axis=0))
            names = draw([file for file, _ in readable], pixels, predicted) if draw else []
            pictures = [[name] for name in names] or [[] for _ in readable]
            scored = [
                ["abstained" if problem else call, *values, *picture, problem]
                for (call, *values), problem, picture in zip(scored, unlike, pictures, strict=True)
            ]
        remaining = iter(scored)
        for file, result in batch:
            values = [*empty, result] if isinstance(result, str) else next(remaining)
            yield [tree.shown(file.as_posix()), *values]


def verdicts(
    members: npt.NDArray[np.float32], rule: Rule, manifest: Manifest
) -> tuple[npt.NDArray[np.intp], list[list[Any]]]:
    """Class numbers, (B,), and call, agreement, probabilities and votes by image; from (members, B, classes)."""
    exact = members.astype(np.float64)
    majority, mean = votes.majority(exact), votes.mean(exact)
    predicted: npt.NDArray[np.intp] = majority.predicted
    if rule.threshold:
        position = manifest.classes.index(rule.threshold[0])
        # As `evaluate` does it: the mean of the members' logits, divided by the temperature.
        temperatures = np.full(len(exact), rule.temperature)
        compared = mean if rule.temperature == 1 else votes.calibrated(exact, temperatures)
        others = compared.probabilities.copy()
        others[:, position] = -1
        above = compared.probabilities[:, position] >= rule.threshold[1]
        predicted = np.where(above, position, others.argmax(axis=1))
    agreement = majority.votes.max(axis=1) / len(members)
    return predicted, [
        [
            manifest.classes[number] if agreement[image] >= rule.min_agreement else "abstained",
            agreement[image], *mean.probabilities[image], *majority.votes[image], *members[:, image].ravel(),
        ]
        for image, number in enumerate(predicted)
    ]  # fmt: skip
