"""The pixel store: every image read once, in order, into one array on disk."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap
from tqdm import tqdm

from job.data import images
from job.data.tree import Entry
from job.errors import UserError
from job.params import Data


def fill(path: Path, entries: Sequence[Entry], data: Data) -> list[images.Facts | str]:
    """Write the pixels of every readable image to an array file, in the order of the entries; memory stays flat.

    The array has the shape (entries, pixels, pixels, 3), uint8: first the readable images, then a black row for every
    image that is refused, which `keep_rows` takes away. Returned are, for every entry, the facts of its file, or the
    reason why it is refused. A UserError says that the disk has no room for the array.
    """
    needed, free = len(entries) * data.pixels**2 * 3, shutil.disk_usage(path.parent).free
    if needed > free:
        # Looked at first: on a full disk, writing to a mapped file kills the process without a word.
        raise UserError(
            f"{len(entries)} images of {data.pixels} pixels need {needed / 1e9:.1f} GB, and "
            f"{path.parent.absolute()} has {free / 1e9:.1f} GB left: free some, or lower data.pixels"
        )
    array = open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(entries), data.pixels, data.pixels, 3))
    files = (Path(data.root, entry.image) for entry in entries)
    results = images.read_all(files, data.pixels, data.crop, data.center, ahead=4 * len(os.sched_getaffinity(0)))
    facts: list[images.Facts | str] = []
    rows = 0
    for result in tqdm(results, total=len(entries), desc="prepare", unit="image", disable=None):
        if isinstance(result, str):
            facts.append(result)
        else:
            array[rows] = result[0]
            facts.append(result[1])
            rows += 1
    array.flush()
    return facts


def keep_rows(path: Path, rows: npt.NDArray[np.intp]) -> None:
    """Write an array file again with these rows alone, unless it has no others."""
    array = np.load(path, mmap_mode="r")
    if len(array) == len(rows):
        return
    kept = path.with_name(f".{path.name}.tmp")
    target = open_memmap(kept, mode="w+", dtype=array.dtype, shape=(len(rows), *array.shape[1:]))
    for start in range(0, len(rows), 256):
        target[start : start + 256] = array[rows[start : start + 256]]
    target.flush()
    kept.replace(path)
