"""What can be measured of a picture without a network, and whether training images have such values. No torch."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from job.contracts.dataset import BACKGROUND, bodies

UNLIKE = "unlike the training images"

FACTS = (
    "background", "area", "outline", "bodies", "brightness", "red less green", "blue less green", "red less blue",
    "contrast", "detail",
)  # fmt: skip
"""The facts of a picture: brightness of its rim; share of the picture that is cell, and of the cell's box; number of
separate bodies; mean brightness and colour of the cell; standard deviation of the brightness in it; its mean difference
between neighbouring pixels."""

Ranges = Mapping[str, Sequence[float]]
"""Least and largest value of each fact, by its name, that a picture like the training images has."""

_SIDE = 96
_TAIL = 0.005  # share of training images left out at either end of a range, which then grows by a quarter of its width


def ranges(pixels: npt.NDArray[np.uint8]) -> dict[str, list[float]]:
    """The range of each fact over training images, (N, S, S, 3)."""
    low, high = np.quantile(_facts(pixels), [_TAIL, 1 - _TAIL], axis=0)
    margin = (high - low) / 4
    margin[0] = max(margin[0], BACKGROUND)  # in most data sets every background is exactly black
    bounds = np.stack([low - margin, high + margin], axis=1).round(4).tolist()
    return dict(zip(FACTS, bounds, strict=True))


def union(every: Sequence[Ranges]) -> Ranges:
    """The range of each fact over the training images of several folds."""
    return {name: [min(one[name][0] for one in every), max(one[name][1] for one in every)] for name in FACTS}


def problems(pixels: npt.NDArray[np.uint8], known: Ranges, distances: npt.NDArray[np.float64]) -> list[str]:
    """For each picture, (B, S, S, 3), what sets it apart from the training images, or nothing.

    `distances`, (B,), are those of the networks' features, as multiples of the largest usual one.
    """
    sentences = []
    for facts, distance in zip(_facts(pixels), distances, strict=True):
        found = [
            f"{name} {value:.3g} (there {known[name][0]:.3g} to {known[name][1]:.3g})"
            for name, value in zip(FACTS, facts, strict=True)
            if name in known and not known[name][0] <= value <= known[name][1]
        ]
        if distance > 1:
            found.append(f"features {distance:.2g} times as far from theirs as is usual")
        sentences.append(f"{UNLIKE}: {', '.join(found)}" if found else "")
    return sentences


def thinned(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A view of the pixels that are looked at: enough for means, and 96 to 191 on a side."""
    step = max(1, pixels.shape[1] // _SIDE)
    return pixels[:, ::step, ::step]


def _facts(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The facts of each picture: (N, facts)."""
    return np.array([_measured(image) for image in thinned(pixels)])


def _measured(image: npt.NDArray[np.uint8]) -> list[float]:
    cell = image.max(axis=2) > BACKGROUND
    rim = np.concatenate([image[[0, -1]], image[:, [0, -1]].swapaxes(0, 1)], axis=None)
    if not cell.any():
        return [float(np.median(rim)), *[0.0] * (len(FACTS) - 1)]
    height, width = np.ptp(np.nonzero(cell), axis=1) + 1
    red, green, blue = image[cell].mean(axis=0)
    brightness = image.mean(axis=2)
    steps = np.abs(np.diff(brightness, axis=0))[cell[1:] & cell[:-1]]
    return [
        float(np.median(rim)), cell.mean(), cell.sum() / (height * width), bodies(cell),
        (red + green + blue) / 3, red - green, blue - green, red - blue, brightness[cell].std(),
        steps.mean() if steps.size else 0.0,
    ]  # fmt: skip
