"""New cells through an ensemble: images read ahead in small numbers, scored in batches, one row each. Without torch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from job.data import images, tree
from job.errors import UserError
from job.evaluation import votes


@dataclass(frozen=True)
class Facts:
    """What an ensemble is, and how an image file becomes its input.

    Attributes:
        method: of its members.
        members: their folds.
        classes: names in class order.
        size: side in pixels that the networks see.
        crop: side of the crop before resizing, in pixels of the file; 0 keeps the whole image.
        center: of the crop, `cell` or `image`.
        synthetic: whether the networks learned from cells that a program drew.
    """

    method: str
    members: tuple[int, ...]
    classes: tuple[str, ...]
    size: int
    crop: int
    center: str
    synthetic: bool = False


class Ensemble(Protocol):
    """Several networks that judge the same images.

    Attributes:
        facts: what it is.
        most_pixels: of one batch, so that large images and many cores take no more memory than small ones and few.
    """

    facts: Facts
    most_pixels: int

    def probabilities(self, pixels: images.Pixels) -> npt.NDArray[np.float32]:
        """Of every member: (members, B, classes), from (B, S, S, 3) pixels."""


Draw = Callable[[list[Path], images.Pixels, npt.NDArray[np.intp]], list[str]]
"""Draws a picture for each image: its file, its pixels (B, S, S, 3), the class number that was called; their names."""


@dataclass(frozen=True)
class Rule:
    """How votes become a call.

    Attributes:
        threshold: a class and the mean probability from which on it is called, else the most probable other class; or
            None for the majority vote of the members.
        temperature: by which the mean of the members' logits is divided before it is held against the threshold; with 1
            the mean probability is.
        min_agreement: the share of members that must vote alike; below it no call is made.
    """

    threshold: tuple[str, float] | None = None
    temperature: float = 1.0
    min_agreement: float = 0.0

    def check(self, classes: tuple[str, ...]) -> None:
        """Refuse a threshold of a class that there is not.

        Raises:
            UserError: naming the classes.
        """
        if self.threshold and self.threshold[0] not in classes:
            raise UserError(f"--threshold: {self.threshold[0]!r} is none of the classes {', '.join(classes)}")


def find(paths: list[Path]) -> list[Path]:
    """The image files that are named, or that lie in named folders at any depth, in order of their names.

    Raises:
        UserError: a path does not exist, or there is no image at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
            # `._name.bmp` is what macOS leaves beside a file on other systems' disks, and no image.
            found += sorted(
                file for file in inside if file.suffix.lower() in tree.SUFFIXES and not file.name.startswith("._")
            )
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path} does not exist")
    if not found:
        raise UserError(f"no images ({', '.join(sorted(tree.SUFFIXES))}) in {', '.join(map(str, paths))}")
    return found


def columns(facts: Facts, *, pictures: bool = False) -> list[str]:
    """Names of the columns of a row; with the name of a picture where pictures are drawn."""
    return [
        "image", "call", "agreement",
        *(f"p_{name}" for name in facts.classes),
        *(f"votes_{name}" for name in facts.classes),
        *(f"fold_{fold}_p_{name}" for fold in facts.members for name in facts.classes),
        *(["map"] if pictures else []),
        "problem",
    ]  # fmt: skip


def rows(
    files: list[Path], ensemble: Ensemble, rule: Rule, batch_size: int, draw: Draw | None = None
) -> Iterator[list[Any]]:
    """One row per file, in order. An image that cannot be read has its reason in the last column and no call.

    A name that is no UTF-8 is there with escapes (`tree.shown`), so that the table can be written.

    Probabilities are means over the members. Only a few batches of images are in memory, however many files there are.
    `draw` makes the pictures of the readable images of a batch, each for the class that is called, or would be where no
    call is made.
    """
    ahead = _read_ahead(files, ensemble.facts, 2 * batch_size)
    width = len(columns(ensemble.facts, pictures=draw is not None))
    while batch := list(islice(ahead, batch_size)):
        readable = [(file, pixels) for file, pixels in batch if not isinstance(pixels, str)]
        scored = iter(_scored(readable, ensemble, rule, draw) if readable else [])
        for file, pixels in batch:
            if isinstance(pixels, str):
                yield [tree.shown(file.as_posix()), *[""] * (width - 2), pixels]
            else:
                yield [tree.shown(file.as_posix()), *next(scored), ""]


def _scored(
    readable: list[tuple[Path, images.Pixels]], ensemble: Ensemble, rule: Rule, draw: Draw | None
) -> list[list[Any]]:
    """Everything between the name and the problem, for the images of a batch that can be read."""
    pixels = np.stack([one for _, one in readable])
    called, found = verdicts(ensemble.probabilities(pixels), rule, ensemble.facts)
    if draw:
        names = draw([file for file, _ in readable], pixels, called)
        found = [[*verdict, name] for verdict, name in zip(found, names, strict=True)]
    return found


def _read_ahead(files: list[Path], facts: Facts, most: int) -> Iterator[tuple[Path, images.Pixels | str]]:
    def read(file: Path) -> images.Pixels | str:
        try:
            return images.read(file, facts.size, facts.crop, facts.center)[0]
        except images.UnreadableImageError as error:
            return str(error)

    remaining = iter(files)
    # Threads suffice: decoding and resizing release the interpreter's lock.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = deque((file, pool.submit(read, file)) for file in islice(remaining, most))
        while waiting:
            file, result = waiting.popleft()
            yield file, result.result()
            if (following := next(remaining, None)) is not None:
                waiting.append((following, pool.submit(read, following)))


def verdicts(
    members: npt.NDArray[np.float32], rule: Rule, facts: Facts
) -> tuple[npt.NDArray[np.intp], list[list[Any]]]:
    """Class numbers, (B,), and call, agreement, probabilities and votes by image; from (members, B, classes)."""
    exact = members.astype(np.float64)
    majority, mean = votes.majority(exact), votes.mean(exact)
    called: npt.NDArray[np.intp] = majority.predicted
    if rule.threshold:
        position = facts.classes.index(rule.threshold[0])
        # As `evaluate` does it: the mean of the members' logits, divided by the temperature.
        each = np.full(len(exact), rule.temperature)
        compared = mean if rule.temperature == 1 else votes.calibrated(exact, each)
        others = compared.probabilities.copy()
        others[:, position] = -1
        above = compared.probabilities[:, position] >= rule.threshold[1]
        called = np.where(above, position, others.argmax(axis=1))
    agreement = majority.votes.max(axis=1) / len(members)
    return called, [
        [
            facts.classes[number] if agreement[image] >= rule.min_agreement else "abstained",
            agreement[image], *mean.probabilities[image], *majority.votes[image], *members[:, image].ravel(),
        ]
        for image, number in enumerate(called)
    ]  # fmt: skip
