"""From an image file to a row of the pixel store: decode, digest, find the cell, crop, resize."""

import hashlib
import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from job.contracts.dataset import BACKGROUND, bodies

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

FORMATS = ("BMP", "PNG", "JPEG", "TIFF")
"""Decoders that are tried, whatever the extension says: no other one sees a byte of a user's file."""

MOST_PIXELS = 4096 * 4096
"""An image with more than this is no cell, and decoding it would cost more memory than all others together."""

_FOREGROUND = [0 if value <= BACKGROUND else 255 for value in range(256)]
_BOMB = "decompression bomb: more pixels than any cell image has"
_PADDING = 4  # bytes that some programs write behind the pixels of a BMP
_SKETCH = 32  # blocks along the shorter side of an image, whose mean values tell whether there is anything on it

_PIXEL_TAGS = "2(5[6-9]|62|66|7[34789]|84)|3(17|2[0-5]|3[89]|47)|53[0-2]"  # of TIFF and EXIF, as a regular expression
_HARMLESS = rf"(Metadata Warning, tag|Possibly corrupt EXIF.*Skipping tag) (?!({_PIXEL_TAGS})\b)"
"""Pillow's warnings of tags that no pixel needs, such as the resolution; all others are reasons to refuse a file."""

_SENSELESS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)
"""What the readers let through when the bytes make no sense."""

_FILTERS = threading.Lock()
"""Python's filters of warnings belong to the process: one thread at a time may change them."""


class UnreadableImageError(Exception):
    """An image file that cannot be used; the text is the reason for `rejected.csv`."""


@dataclass(frozen=True)
class Facts:
    """What one file is.

    `pixel_sha256` is the digest of what is drawn: size and RGB values of the image without its black margins. Copies in
    other formats, on a larger canvas or at another place on it have the same one. `bodies` are counted on a small copy.
    """

    width: int
    height: int
    mode: str  # as stored
    file_sha256: str
    pixel_sha256: str
    box: Box  # of the cell: x, y, width, height in pixels
    scaled_in: bool  # whether the cell is larger than the crop
    bodies: int


def read(path: Path, size: int, crop: int, center: str) -> tuple[Pixels, Facts]:
    """Decode one image and bring it to (size, size, 3), uint8.

    Before resizing, a square of `crop` pixels of the file is cut out around the middle of the cell's box (`center` is
    `cell`) or of the image (`image`); a crop of 0 takes the whole image. A cell larger than the crop stays whole: the
    square grows to hold it. An UnreadableImageError has the reason why there is no such image.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnreadableImageError("not a regular file")  # opening a pipe would wait for ever
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"unreadable: {error.strerror}") from None
    image, mode = decode(content)
    blocks = np.asarray(image.reduce(max(1, min(image.size) // _SKETCH)))
    if np.ptp(blocks, axis=(0, 1)).max() <= BACKGROUND:
        raise UnreadableImageError("blank: nothing stands out from the background")
    box = cell_box(image)
    square = _square(image.size, box, crop, center)
    drawn = image.crop(image.getbbox() or (0, 0, *image.size))
    content_drawn = f"{drawn.width}x{drawn.height}:".encode() + drawn.tobytes()
    facts = Facts(
        width=image.width,
        height=image.height,
        mode=mode,
        file_sha256=hashlib.sha256(content).hexdigest(),
        pixel_sha256=hashlib.sha256(content_drawn).hexdigest(),
        box=box,
        scaled_in=crop > 0 and square[2] - square[0] > crop,
        bodies=bodies(blocks.max(axis=2) > BACKGROUND),
    )
    # Pillow's crop fills what lies outside the image with black, which is the background of these images.
    cut = image.crop(square)
    return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR)), facts


def read_all(
    paths: Iterable[Path], size: int, crop: int, center: str, ahead: int
) -> Iterator[tuple[Pixels, Facts] | str]:
    """`read` every image in the order of the paths: its result, or the reason why it cannot be used.

    At most `ahead` images are read before they are asked for, so that memory stays flat. Threads suffice, because
    decoding, hashing and resizing release the interpreter's lock.
    """

    def one(path: Path) -> tuple[Pixels, Facts] | str:
        try:
            return read(path, size, crop, center)
        except UnreadableImageError as error:
            return str(error)

    remaining = iter(paths)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = deque(pool.submit(one, path) for path in islice(remaining, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(one, path) for path in islice(remaining, 1))


def cell_box(image: Image.Image) -> Box:
    """Bounding box (x, y, width, height) of what is not background in colour or grey; zeros for a black image."""
    drawn = image.getbbox() or (0, 0, 0, 0)  # most of an image is pure black: what is not is all that is looked at
    left, top, right, bottom = image.crop(drawn).point(_FOREGROUND * len(image.getbands())).getbbox() or [0] * 4
    return (drawn[0] + left, drawn[1] + top, right - left, bottom - top)


def decode(content: bytes) -> tuple[Image.Image, str]:
    """RGB image, turned as its EXIF orientation says, and the mode it was stored in; or an UnreadableImageError."""
    if not content:
        raise UnreadableImageError("empty file")
    try:
        with _warnings_are_errors():
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            frames = getattr(image, "n_frames", 1)
        mode = image.mode
        # Looked at before a pixel is decoded. Pillow itself only warns at its own limit.
        if image.width * image.height > MOST_PIXELS:
            raise UnreadableImageError(_BOMB)
        if image.format == "BMP":
            _check_bmp_size(content, image.size)
        if image.format == "PNG" and b"IEND" not in content:
            raise UnreadableImageError("truncated")  # Pillow is content once the last row is complete
        if _bits_are_lost(image):
            raise UnreadableImageError("16 bits per channel: expected 8, convert it so that nothing is lost unseen")
        if frames > 1:
            raise UnreadableImageError("several images in one file: expected one cell")
        _check_streams(image, content)
        image.load()
        with _warnings_are_errors():
            ImageOps.exif_transpose(image, in_place=True)
    except UnidentifiedImageError:
        raise UnreadableImageError(f"not an image: none of {', '.join(FORMATS)} by its content") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImageError(_BOMB) from None
    except (*_SENSELESS, Warning) as error:
        reason = "truncated" if re.search("truncated|premature end", str(error).lower()) else f"unreadable: {error}"
        raise UnreadableImageError(reason) from None
    return _as_rgb(image), mode


@contextmanager
def _warnings_are_errors() -> Iterator[None]:
    """A block in which Pillow reads what a file says of itself. Its pixels are decoded by several threads at a time."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", _HARMLESS)
        yield


def _as_rgb(image: Image.Image) -> Image.Image:
    """Grey, palette and opaque colour as RGB."""
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA"):
        raise UnreadableImageError(f"mode {image.mode}: expected 8-bit colour or grey")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # What lies under a transparent pixel is anybody's guess: black, white, or what a program left there.
        if image.getchannel("A").getextrema()[0] != 255:
            raise UnreadableImageError("transparent pixels: expected an opaque image")
    return image.convert("RGB")


def _bits_are_lost(image: ImageFile.ImageFile) -> bool:
    """Whether the file has 16 bits per channel; of colour images Pillow would keep the upper 8, or mix the two."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.mode != "F" and max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8
    return image.mode.startswith("I") or any(";16B" in str(tile.args) for tile in image.tile)


def _check_streams(image: ImageFile.ImageFile, content: bytes) -> None:
    """Raise where libjpeg warns of damage or a checksum is wrong: Pillow is silent on both, and fills in something."""
    if image.format in ("JPEG", "MPO"):
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        tags, compression = image.tag_v2, image.info["compression"]
        tables = tags.get(TiffImagePlugin.JPEGTABLES, b"\xff\xd8\xff\xd9")
        starts, lengths = (tags.get(strip, tags.get(tile)) for strip, tile in ((273, 324), (279, 325)))
        for start, length in zip(starts, lengths, strict=True):
            if compression == "jpeg":
                stream = tables[:-2] + content[start + 2 : start + length]
                simplejpeg.decode_jpeg(stream, "GRAY", min_height=1, min_width=1)
            elif compression.endswith("deflate"):
                zlib.decompressobj().decompress(content[start : start + length], 4 * MOST_PIXELS)


def _check_bmp_size(content: bytes, size: tuple[int, int]) -> None:
    """An uncompressed BMP is as long as its width, height and depth say; Pillow does not mind rows left over."""
    offset, header = struct.unpack_from("<II", content, 10)
    if header < 40:
        return
    bits, compression = struct.unpack_from("<HI", content, 28)
    if compression not in (0, 3):
        return
    needed = offset + (size[0] * bits + 31) // 32 * 4 * size[1]
    if header == 124:  # a colour profile may follow the pixels
        needed += struct.unpack_from("<I", content, 14 + 116)[0]
    if len(content) - needed > _PADDING:
        raise UnreadableImageError(f"wrong size for its header: {len(content)} bytes, {needed} by width and height")


def _square(image_size: tuple[int, int], box: Box, crop: int, center: str) -> Box:
    """The square (left, top, right, bottom) that becomes the network's view."""
    (width, height), (x, y, w, h) = image_size, box
    across, down = (x + w / 2, y + h / 2) if crop and center == "cell" else (width / 2, height / 2)
    reach = max(abs(x - across), abs(x + w - across), abs(y - down), abs(y + h - down))
    side = max(crop, int(np.ceil(2 * reach))) if crop else max(width, height)
    left, top = round(across - side / 2), round(down - side / 2)
    return (left, top, left + side, top + side)
