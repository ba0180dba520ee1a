"""From an image file to a row of the pixel store: decode, digest, find the cell, crop, resize."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

BACKGROUND = 10
"""Brightest channel value that still counts as black: saving as JPEG leaves noise of a few units around a cell."""

MOST_PIXELS = 64_000_000
"""An image with more than this is no cell: 8,000 pixels square."""


class UnreadableImageError(Exception):
    """An image file that cannot be used; the text is the reason for `rejected.csv`."""


@dataclass(frozen=True)
class Facts:
    """What one file is: size in pixels, mode as stored, digests, the cell's box (x, y, width, height in pixels)."""

    width: int
    height: int
    mode: str
    file_sha256: str
    pixel_sha256: str
    box: tuple[int, int, int, int]
    scaled_in: bool


def read(path: Path, size: int, crop: int, center: str) -> tuple[Pixels, Facts]:
    """Decode one image and bring it to (size, size, 3), uint8.

    Args:
        path: image file.
        size: side of the result in pixels.
        crop: side of the square cut out before resizing, in pixels of the file; 0 takes the whole image. A cell larger
            than the crop stays whole: the square grows to hold it, and `scaled_in` says so.
        center: `cell` centres the square on the cell's box, `image` on the image.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"unreadable: {error.strerror}") from None
    image, mode = _decode(content)
    pixels = np.asarray(image)
    box = cell_box(pixels)
    square = _square(image.size, box, crop, center)
    facts = Facts(
        width=image.width,
        height=image.height,
        mode=mode,
        file_sha256=hashlib.sha256(content).hexdigest(),
        pixel_sha256=hashlib.sha256(f"{image.width}x{image.height}:".encode() + pixels.tobytes()).hexdigest(),
        box=box,
        scaled_in=crop > 0 and square[2] - square[0] > crop,
    )
    # Pillow's crop fills what lies outside the image with black, which is the background of these images.
    cut = image.crop(square)
    return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR)), facts


def cell_box(pixels: Pixels) -> tuple[int, int, int, int]:
    """Bounding box (x, y, width, height) of what is not background in (H, W, 3) pixels; zeros for a black image."""
    foreground = pixels.max(axis=2) > BACKGROUND
    rows, columns = np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))
    if rows.size == 0:
        return (0, 0, 0, 0)
    x, y = int(columns[0]), int(rows[0])
    return (x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)


def _decode(content: bytes) -> tuple[Image.Image, str]:
    """RGB image and the mode it was stored in."""
    if not content:
        raise UnreadableImageError("empty file")
    try:
        image = Image.open(io.BytesIO(content))
        # Looked at before a pixel is decoded. Pillow itself only warns at this size, for the whole process at once.
        if image.width * image.height > MOST_PIXELS:
            raise UnreadableImageError("decompression bomb: more pixels than any cell image has")
        image.load()
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image") from None
    except Image.DecompressionBombError:
        raise UnreadableImageError("decompression bomb: more pixels than any cell image has") from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = "truncated" if "truncated" in str(error) else f"unreadable: {error}"
        raise UnreadableImageError(reason) from None
    if image.mode not in ("RGB", "L", "P"):
        raise UnreadableImageError(f"mode {image.mode}: expected 8-bit colour or grey without transparency")
    return (image if image.mode == "RGB" else image.convert("RGB")), image.mode


def _square(
    image_size: tuple[int, int], box: tuple[int, int, int, int], crop: int, center: str
) -> tuple[int, int, int, int]:
    """The square (left, top, right, bottom) that becomes the network's view."""
    width, height = image_size
    x, y, w, h = box
    middle = (x + w / 2, y + h / 2) if center == "cell" and w else (width / 2, height / 2)
    side = crop
    if crop == 0:
        side = max(width, height)
        middle = (width / 2, height / 2)
    elif w:
        reach = max(abs(x - middle[0]), abs(x + w - middle[0]), abs(y - middle[1]), abs(y + h - middle[1]))
        side = max(crop, int(np.ceil(2 * reach)))
    left, top = round(middle[0] - side / 2), round(middle[1] - side / 2)
    return (left, top, left + side, top + side)
