"""Read every image once: the index (one row per image) and the pixel store (one array for all of them)."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.format import open_memmap
from tqdm import tqdm

from job.data import cnmc, images, subjects
from job.errors import UserError
from job.params import Data

COLUMNS = [
    "row", "image", "label", "patient", "subject", "origin", "width", "height", "mode", "file_sha256", "pixel_sha256",
    "box_x", "box_y", "box_w", "box_h",
]  # fmt: skip


def prepare(params: Data, folder: Path) -> dict[str, Any]:
    """Write `index.csv`, `images.npy`, `rejected.csv` into `folder` and return the summary.

    Memory stays flat: pixels go straight to the memory-mapped store.

    Raises:
        UserError: no such data, an empty class, more refused files than `data.max_rejected`.
    """
    root = Path(params.root)
    listing = cnmc.listing(root)
    if not listing.entries:
        raise _refusal(listing.rejected, params) or UserError(f"data.root: no images found under {root.absolute()}")
    store = open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(len(listing.entries), params.size, params.size, 3)
    )
    records: list[dict[str, Any]] = []
    rejected = list(listing.rejected)
    scaled_in = 0
    for entry, result in tqdm(
        zip(listing.entries, _read_all(listing.entries, root, params), strict=True),
        total=len(listing.entries), desc="prepare", unit="image", disable=None,
    ):  # fmt: skip
        if isinstance(result, str):
            rejected.append((entry.image, result))
            continue
        pixels, facts = result
        store[len(records)] = pixels
        scaled_in += facts.scaled_in
        records.append(_record(entry, facts))
    index = pd.DataFrame(records, columns=[column for column in COLUMNS if column not in ("row", "subject")])
    keep, contradictions = _without_contradictions(index)
    rejected = sorted(rejected + contradictions)
    if error := _refusal(rejected, params):
        raise error
    store.flush()
    del store
    _keep_rows(folder / "images.npy", np.flatnonzero(keep))
    index = index[keep].reset_index(drop=True)
    index.insert(0, "row", np.arange(len(index)))
    index["subject"] = subjects.assign(index)
    index = index[COLUMNS]
    for name in cnmc.CLASSES:
        if name not in set(index["label"]):
            raise UserError(f"class {name} has no images under {root.absolute()}: both classes are needed to learn")
    index.to_csv(folder / "index.csv", index=False, lineterminator="\n")
    pd.DataFrame(rejected, columns=["file", "reason"]).to_csv(folder / "rejected.csv", index=False, lineterminator="\n")
    return _summary(index, listing, len(rejected), scaled_in, params)


def _read_all(
    entries: list[cnmc.Entry], root: Path, params: Data
) -> Iterator[tuple[images.Pixels, images.Facts] | str]:
    """Results in the order of the entries, a bounded number of them in flight.

    Threads suffice: decoding, hashing and resizing all release the interpreter's lock.
    """

    def one(entry: cnmc.Entry) -> tuple[images.Pixels, images.Facts] | str:
        try:
            return images.read(root / entry.image, params.size, params.crop, params.center)
        except images.UnreadableImageError as error:
            return str(error)

    workers = len(os.sched_getaffinity(0))
    remaining = iter(entries)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(one, entry) for entry in islice(remaining, 4 * workers))
        while waiting:
            yield waiting.popleft().result()
            if (entry := next(remaining, None)) is not None:
                waiting.append(pool.submit(one, entry))


def _record(entry: cnmc.Entry, facts: images.Facts) -> dict[str, Any]:
    x, y, w, h = facts.box
    return {
        "image": entry.image, "label": entry.label or "", "patient": entry.patient or "", "origin": entry.origin,
        "width": facts.width, "height": facts.height, "mode": facts.mode,
        "file_sha256": facts.file_sha256, "pixel_sha256": facts.pixel_sha256,
        "box_x": x, "box_y": y, "box_w": w, "box_h": h,
    }  # fmt: skip


def _without_contradictions(index: pd.DataFrame) -> tuple[pd.Series, list[tuple[str, str]]]:
    """Which rows stay, and the copies that carry both labels: nobody knows which of them is right."""
    groups = subjects.copies(index)
    bad = groups[groups["labels"].str.len() > 1]
    rejected = [
        (image, "contradiction: identical pixels are labelled " + " and ".join(labels))
        for members, labels in zip(bad["images"], bad["labels"], strict=True)
        for image in members
    ]
    return ~index["pixel_sha256"].isin(bad["pixel_sha256"]), rejected


def _keep_rows(path: Path, rows: npt.NDArray[np.intp]) -> None:
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


def _refusal(rejected: list[tuple[str, str]], params: Data) -> UserError | None:
    if len(rejected) <= params.max_rejected:
        return None
    first = "\n".join(f"  {file}: {reason}" for file, reason in rejected[:10])
    more = f"\n  … and {len(rejected) - 10} more" if len(rejected) > 10 else ""
    return UserError(
        f"{len(rejected)} files under {params.root} cannot be used:\n{first}{more}\n"
        f"Mend or remove them, or accept them with data.max_rejected={len(rejected)}: "
        "each stays listed in rejected.csv."
    )


def _summary(index: pd.DataFrame, listing: cnmc.Listing, rejected: int, scaled_in: int, params: Data) -> dict[str, Any]:
    groups = subjects.copies(index)
    people = index.loc[index["patient"] != "", ["patient", "subject"]].drop_duplicates()
    linked = people[people["subject"].isin(people.loc[people.duplicated("subject"), "subject"])]
    return {
        "name": "Synthetic cells" if listing.synthetic else "C-NMC 2019",
        "synthetic": listing.synthetic,
        "classes": list(cnmc.CLASSES),
        "positive": cnmc.POSITIVE,
        "images": len(index),
        "labelled": int((index["label"] != "").sum()),
        "patients": len(people),
        "subjects": int(people["subject"].nunique()),
        "size": params.size,
        "crop": params.crop,
        "rejected": rejected,
        "ignored": listing.ignored,
        "scaled_in": scaled_in,
        "copies": {
            "groups": len(groups),
            "images": int(groups["images"].str.len().sum()),
            "linked_patients": [
                sorted(members, key=subjects.natural) for _, members in linked.groupby("subject")["patient"]
            ],
        },
        "published": {"images": 12_528, "patients": 101, "subjects": 94, "final": 2_586},
    }
