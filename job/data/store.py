"""Every image read once, in parallel and in order, into one array on disk."""

import os
import shutil
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap
from PIL import Image
from tqdm import tqdm

from job.data import images
from job.data.tree import Entry
from job.errors import UserError
from job.params import Data

Read = images.Facts | str
"""What is known of a file, or the reason why it is refused."""


def fill(path: Path, entries: Sequence[Entry], params: Data) -> list[Read]:
    """Write the pixels of every readable image to an array file, in the order of the entries; memory stays flat.

    The array has one row per readable image, shape (images, size, size, 3), uint8.

    Raises:
        UserError: the disk has no room for the array.
    """
    needed, free = len(entries) * params.pixels**2 * 3, shutil.disk_usage(path.parent).free
    if needed > free:
        # Looked at first: on a full disk, writing to a mapped file kills the process without a word.
        raise UserError(
            f"{len(entries)} images of {params.pixels} pixels need {needed / 1e9:.1f} GB, and "
            f"{path.parent.absolute()} has {free / 1e9:.1f} GB left: free some, or lower data.pixels"
        )
    array = open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(entries), params.pixels, params.pixels, 3))
    found: list[Read] = []
    row = 0
    for result in tqdm(_read_all(entries, params), total=len(entries), desc="prepare", unit="image", disable=None):
        if isinstance(result, str):
            found.append(result)
        else:
            array[row], facts = result
            found.append(facts)
            row += 1
    array.flush()
    del array
    keep_rows(path, np.arange(row))
    return found


def keep_rows(path: Path, rows: npt.NDArray[np.intp]) -> None:
    """Write an array file again with these rows alone, where refused images left others in it."""
    array = np.load(path, mmap_mode="r")
    if len(array) == len(rows):
        return
    kept = path.with_name(f".{path.name}.tmp")
    target = open_memmap(kept, mode="w+", dtype=array.dtype, shape=(len(rows), *array.shape[1:]))
    for start in range(0, len(rows), 256):
        target[start : start + 256] = array[rows[start : start + 256]]
    target.flush()
    kept.replace(path)


def _read_all(entries: Sequence[Entry], params: Data) -> Iterator[tuple[images.Pixels, images.Facts] | str]:
    """Results in the order of the entries, a bounded number of them in flight.

    Threads suffice: decoding, hashing and resizing all release the interpreter's lock.
    """
    root = Path(params.root)

    def one(entry: Entry) -> tuple[images.Pixels, images.Facts] | str:
        try:
            return images.read(root / entry.image, params.pixels, params.crop, params.center)
        except images.UnreadableImageError as error:
            return str(error)

    workers = len(os.sched_getaffinity(0))
    remaining = iter(entries)
    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
        # What makes Pillow wonder is a reason to refuse the file, not a line on the screen without its name.
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        waiting = deque(pool.submit(one, entry) for entry in islice(remaining, 4 * workers))
        while waiting:
            yield waiting.popleft().result()
            if (entry := next(remaining, None)) is not None:
                waiting.append(pool.submit(one, entry))
