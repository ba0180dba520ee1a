"""From a folder of images to the index (one row per image), the pixel store, and every refused file with its reason."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.format import open_memmap
from tqdm import tqdm

from job.data import describe, images, layouts, near_copies, subjects
from job.data.tree import Entry, Listing, Refusal, kind, reasons
from job.errors import UserError
from job.params import Data

_BOX = ["box_x", "box_y", "box_w", "box_h"]
COLUMNS = [
    "row", "image", "label", "patient", "subject", "origin", "width", "height", "mode", "file_sha256", "pixel_sha256",
    "cell", *_BOX,
]  # fmt: skip


def prepare(data: Data, folder: Path) -> dict[str, Any]:
    """Write `index.csv`, `images.npy`, `rejected.csv` and `cells/` into `folder` and return the summary.

    A UserError says that there is no such data, that its layout is not clear, that there are fewer than two classes,
    that `data.positive` is wrong, or that more files are refused than `data.max_rejected`.
    """
    root, store = Path(data.root), folder / "images.npy"
    listing = layouts.read(root, data.layout, data.positive)
    index, unreadable = _fill(store, listing.entries, data) if listing.entries else (pd.DataFrame(), [])
    rejected = listing.rejected + unreadable
    if index.empty:
        _check_rejected(rejected, data)
        problem = "none of the images under {} can be read" if listing.entries else "no images found under {}"
        raise UserError(f"data.root: {problem.format(root.absolute())}")
    keep, contradictions = _without_contradictions(index)
    rejected = sorted(rejected + contradictions)
    _check_rejected(rejected, data)
    _keep_rows(store, np.flatnonzero(keep))
    index = index[keep].reset_index(drop=True)
    index.insert(0, "row", np.arange(len(index)))
    digest = index["pixel_sha256"].tolist()
    paths, side = [root / image for image in index["image"]], index[["box_w", "box_h"]].max(axis=1).median()
    pairs = near_copies.find(paths, data.near_copies, side) if data.near_copies else []
    near = [pair for pair in pairs if digest[pair.one] != digest[pair.other]]
    index["cell"] = subjects.cells(index["pixel_sha256"], [(pair.one, pair.other) for pair in near])
    index["subject"] = subjects.assign(index)
    classes = _classes(index, listing, root)
    positive = layouts.positive(classes, data.positive)
    index[COLUMNS].to_csv(folder / "index.csv", index=False, lineterminator="\n")
    table = pd.DataFrame(rejected, columns=["file", "reason"])
    table.to_csv(folder / "rejected.csv", index=False, lineterminator="\n")
    describe.write_cells(folder / "cells", store, index, classes)
    listing = replace(listing, warnings=[*listing.warnings, *describe.contradictions(index, near)])
    return {
        **describe.summary(index, listing, rejected, root),
        "classes": classes,
        "positive": positive,
        "size": data.pixels,
        "crop": data.crop,
        "center": data.center,
        "ignored": listing.ignored,
        "near_copies": {"pairs": len(near), "links": describe.links(index, near)},
    }


def _fill(path: Path, entries: list[Entry], data: Data) -> tuple[pd.DataFrame, list[Refusal]]:
    """Write the pixels of every readable image to an array file, in the order of the entries; memory stays flat.

    The array has the shape (entries, pixels, pixels, 3), uint8: first the readable images, then a black row for every
    image that is refused, which `_keep_rows` takes away. Returned are what the entries and the files say, a row per
    readable image, and the refusals. A UserError says that the disk has no room for the array.
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
    bar = tqdm(results, total=len(entries), desc="prepare", unit="image", disable=None)
    rows: list[dict[str, Any]] = []
    refused: list[Refusal] = []
    for entry, result in zip(entries, bar, strict=True):
        if isinstance(result, str):
            refused.append((entry.image, result))
        else:
            array[len(rows)], facts = result
            rows.append(vars(entry) | vars(facts) | dict(zip(_BOX, facts.box, strict=True)))
    array.flush()
    return pd.DataFrame(rows), refused


def _keep_rows(path: Path, rows: npt.NDArray[np.intp]) -> None:
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


def _without_contradictions(index: pd.DataFrame) -> tuple[pd.Series, list[Refusal]]:
    """Which rows stay, and the copies that carry several labels: nobody knows which of them is correct."""
    labels = index[index["label"] != ""].groupby("pixel_sha256")["label"].unique()
    several = {digest: " and ".join(sorted(names)) for digest, names in labels.items() if len(names) > 1}
    wrong = index["pixel_sha256"].isin(several)
    problems = "contradiction: identical pixels are labelled " + index["pixel_sha256"][wrong].map(several)
    return ~wrong, list(zip(index["image"][wrong], problems, strict=True))


def _classes(index: pd.DataFrame, listing: Listing, root: Path) -> list[str]:
    present = sorted(set(index["label"]) - {""})
    classes = list(listing.classes) or present
    if missing := [name for name in classes if name not in present]:
        raise UserError(f"class {missing[0]} has no images under {root.absolute()}: both classes are needed to learn")
    if len(classes) < 2:
        what = f"one class only, {classes[0]}" if classes else "no labelled image"
        raise UserError(f"data.root: {root.absolute()} holds {what}: at least two classes are needed to learn")
    return classes


def _check_rejected(rejected: list[Refusal], data: Data) -> None:
    if len(rejected) <= data.max_rejected:
        return
    # The first of each kind, then the second: one kind may hide the other that causes it.
    ordered = sorted(rejected, key=lambda one: (one[0], subjects.natural(one[1])))
    table = pd.DataFrame(ordered)
    turn = table.groupby(table[1].map(kind)).cumcount()
    lines = [f"  {file}: {reason}" for file, reason in table.loc[turn.sort_values(kind="stable").index[:10]].to_numpy()]
    first = "\n".join(lines + [f"  … and {len(rejected) - 10} more"] * (len(rejected) > 10))
    counts = ", ".join(f"{entry['files']} x {entry['reason']}" for entry in reasons(rejected)[:5])
    raise UserError(
        f"{len(rejected)} files under {data.root} cannot be used ({counts}):\n{first}\n"
        f"Fix or remove them, or accept them with data.max_rejected={len(rejected)}: "
        "each stays listed in rejected.csv."
    )
