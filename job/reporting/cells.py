"""Pictures of cells: small and large ones, and the same with an activation map laid over it."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from job.contracts.dataset import BACKGROUND
from job.reporting.inputs import ReportInputs

SMALL, LARGE = 72, 240
"""Pixels of a side at most: of any test cell, and of one in the gallery."""
MOST = 3000
"""Test cells of which each has a picture; of more, those in the gallery have one."""
COARSEST = 7
"""Values along a side of an activation map that can be read; a coarser one is not shown."""
_WARM = np.array([255, 140, 40])  # one hue: a map is read by its strength, not by its colour


def addresses(inputs: ReportInputs) -> dict[str, str]:
    """The files of the test cells that have a picture, by image; their numbers follow the names that are shown."""
    if inputs.gallery is None or inputs.gallery.pixels is None:
        return {}
    tested = sorted(set(inputs.predictions.loc[inputs.predictions["role"] == "test", "image"]))
    chosen = set(inputs.gallery.cells["image"])
    shown = {image: f"cells/{n}.webp" for n, image in enumerate(tested)}
    return shown if len(shown) <= MOST else {image: name for image, name in shown.items() if image in chosen}


def maps(inputs: ReportInputs, method: str) -> dict[str, str]:
    """The files of a method's activation maps, by image."""
    gallery = inputs.gallery
    if gallery is None or gallery.pixels is None or gallery.maps.shape[1] < COARSEST:
        return {}
    chosen = gallery.cells[gallery.cells["method"] == method]
    # Of a cell in two groups the first one is shown.
    return {image: f"cells/{n}-map.webp" for n, image in reversed([*zip(chosen.index, chosen["image"], strict=True)])}


def thumbnail(pixels: npt.NDArray[np.uint8], side: int) -> bytes:
    """A cell (S, S, 3) as WebP, never enlarged."""
    return _webp(_fitted(pixels, side))


def overlay(pixels: npt.NDArray[np.uint8], activation: npt.NDArray[np.uint8]) -> bytes:
    """A cell (S, S, 3) in grey under its activation map (h, w), the stronger the warmer, as WebP."""
    cell = _fitted(pixels, LARGE)
    strength = _resized(activation, cell.size)[..., None] / 255
    grey = np.asarray(cell.convert("L"))[..., None].astype(float)
    mixed = grey * (1 - 0.6 * strength) + _WARM * 0.6 * strength
    return _webp(Image.fromarray(mixed.round().astype(np.uint8)))


def inside(pixels: npt.NDArray[np.uint8], activation: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """The share of a map's weight that lies on the cell, and the share of the picture that the cell covers.

    The cell is whatever is not black, as in C-NMC.
    """
    cell = pixels.max(axis=2) > BACKGROUND
    weight = _resized(activation, (pixels.shape[1], pixels.shape[0])).astype(float)
    return float(weight[cell].sum() / max(weight.sum(), 1)), float(cell.mean())


def _resized(activation: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(activation).resize(size, Image.Resampling.BICUBIC))


def _fitted(pixels: npt.NDArray[np.uint8], side: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=75, method=2)
    return out.getvalue()
