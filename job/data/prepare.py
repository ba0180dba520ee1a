"""From a folder of images to the index (one row per image), the pixel store, and every refused file with its reason."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from job.data import describe, images, layouts, near_copies, store, subjects
from job.data.tree import Listing, Refusal, is_synthetic, kind
from job.errors import UserError
from job.params import Data

COLUMNS = [
    "row", "image", "label", "patient", "subject", "origin", "width", "height", "mode", "file_sha256", "pixel_sha256",
    "cell", "box_x", "box_y", "box_w", "box_h", "copies",
]  # fmt: skip


def prepare(data: Data, folder: Path) -> dict[str, Any]:
    """Write `index.csv`, `images.npy`, `rejected.csv` and `cells/` into `folder` and return the summary.

    A UserError says that there is no such data, that its layout is not clear, that there are fewer than two classes,
    that `data.positive` is wrong, or that more files are refused than `data.max_rejected`.
    """
    root = Path(data.root)
    listing = layouts.read(root, data.layout, data.positive)
    rejected = list(listing.rejected)
    facts = store.fill(folder / "images.npy", listing.entries, data) if listing.entries else []
    results = list(zip(listing.entries, facts, strict=True))
    rejected += [(entry.image, reason) for entry, reason in results if isinstance(reason, str)]
    index = pd.DataFrame([
        vars(entry) | vars(facts) | dict(zip(("box_x", "box_y", "box_w", "box_h"), facts.box, strict=True))
        for entry, facts in results
        if isinstance(facts, images.Facts)
    ])  # fmt: skip
    if index.empty:
        _check_rejected(rejected, data)
        problem = "none of the images under {} can be read" if listing.entries else "no images found under {}"
        raise UserError(f"data.root: {problem.format(root.absolute())}")
    keep, contradictions = _without_contradictions(index)
    rejected += contradictions
    _check_rejected(rejected, data)
    store.keep_rows(folder / "images.npy", np.flatnonzero(keep))
    index = index[keep].reset_index(drop=True)
    index.insert(0, "row", np.arange(len(index)))
    digest = index["pixel_sha256"].tolist()
    paths, side = [root / image for image in index["image"]], index[["box_w", "box_h"]].max(axis=1).median()
    pairs = near_copies.find(paths, data.near_copies, side) if data.near_copies else []
    near = [pair for pair in pairs if digest[pair.one] != digest[pair.other]]
    index["cell"] = subjects.cells(index["pixel_sha256"], [(pair.one, pair.other) for pair in near])
    index["subject"] = subjects.assign(index)
    # Other images with the same pixels.
    index["copies"] = index.groupby("pixel_sha256")["image"].transform("size") - 1
    classes = _classes(index, listing, root)
    positive = layouts.positive(classes, data.positive)
    index[COLUMNS].to_csv(folder / "index.csv", index=False, lineterminator="\n")
    table = pd.DataFrame(sorted(rejected), columns=["file", "reason"])
    table.to_csv(folder / "rejected.csv", index=False, lineterminator="\n")
    links = describe.links(index, near)
    describe.write_cells(folder / "cells", folder / "images.npy", index, classes, links)
    synthetic = is_synthetic(root)
    listing = replace(listing, warnings=[*listing.warnings, *describe.contradictions(index, near)])
    return {
        "name": "Synthetic cells" if synthetic else describe.name(index, listing, root),
        "synthetic": synthetic,
        "classes": classes,
        "positive": positive,
        "size": data.pixels,
        "crop": data.crop,
        "center": data.center,
        "ignored": listing.ignored,
        **describe.summary(index, listing, sorted(rejected), synthetic=synthetic),
        "near_copies": {"pairs": len(near), "links": links},
    }


def _without_contradictions(index: pd.DataFrame) -> tuple[pd.Series, list[Refusal]]:
    """Which rows stay, and the copies that carry several labels: nobody knows which of them is correct."""
    groups = subjects.copies(index)
    contradicted = groups[groups["labels"].str.len() > 1]
    rejected = [
        (image, "contradiction: identical pixels are labelled " + " and ".join(labels))
        for members, labels in zip(contradicted["images"], contradicted["labels"], strict=True)
        for image in members
    ]
    return ~index["pixel_sha256"].isin(contradicted["pixel_sha256"]), rejected


def _classes(index: pd.DataFrame, listing: Listing, root: Path) -> list[str]:
    present = sorted(set(index["label"]) - {""})
    classes = list(listing.classes) or present
    for name in classes:
        if name not in present:
            raise UserError(f"class {name} has no images under {root.absolute()}: both classes are needed to learn")
    if len(classes) < 2:
        what = f"one class only, {classes[0]}" if classes else "no labelled image"
        raise UserError(f"data.root: {root.absolute()} holds {what}: at least two classes are needed to learn")
    return classes


def _check_rejected(rejected: list[Refusal], data: Data) -> None:
    if len(rejected) <= data.max_rejected:
        return
    # The first of each kind, then the second: one kind may hide the other that causes it.
    turn: Counter[str] = Counter()
    order: list[tuple[int, int, str]] = []
    for file, reason in sorted(rejected, key=lambda one: (one[0], subjects.natural(one[1]))):
        turn[kind(reason)] += 1
        order.append((turn[kind(reason)], len(order), f"  {file}: {reason}"))
    first = "\n".join(line for _, _, line in sorted(order)[:10])
    more = f"\n  … and {len(rejected) - 10} more" if len(rejected) > 10 else ""
    counts = ", ".join(f"{count} x {name}" for name, count in turn.most_common(5))
    raise UserError(
        f"{len(rejected)} files under {data.root} cannot be used ({counts}):\n{first}{more}\n"
        f"Fix or remove them, or accept them with data.max_rejected={len(rejected)}: "
        "each stays listed in rejected.csv."
    )
