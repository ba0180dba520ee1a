"""Pictures of cells: a thumbnail, and the same with its activation map laid over it."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 144
"""Pixels of a thumbnail at most: sharp at half that size on a dense screen."""
_WARM = np.array([255, 140, 40])  # one hue: a map is read by its strength, not by its colour


def thumbnail(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A cell (S, S, 3) as WebP, never enlarged."""
    return _webp(_fitted(pixels))


def overlay(pixels: npt.NDArray[np.uint8], activation: npt.NDArray[np.uint8]) -> bytes:
    """A cell (S, S, 3) in grey under its activation map (h, w), the stronger the warmer, as WebP."""
    cell = _fitted(pixels)
    strength = np.asarray(Image.fromarray(activation).resize(cell.size, Image.Resampling.BICUBIC))[..., None] / 255
    grey = np.asarray(cell.convert("L"))[..., None].astype(float)
    mixed = grey * (1 - 0.6 * strength) + _WARM * 0.6 * strength
    return _webp(Image.fromarray(mixed.round().astype(np.uint8)))


def _fitted(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=82, method=4)
    return out.getvalue()
