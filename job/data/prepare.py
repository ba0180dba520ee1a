"""From a folder of images to the index (one row per image), the pixel store, and every refused file with its reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from job.data import cnmc, evidence, images, layouts, store, subjects
from job.data.tree import Entry, Listing, Refusal
from job.errors import UserError
from job.params import Data

COLUMNS = [
    "row", "image", "label", "patient", "subject", "origin", "width", "height", "mode", "file_sha256", "pixel_sha256",
    "box_x", "box_y", "box_w", "box_h", "copies",
]  # fmt: skip


def prepare(params: Data, folder: Path) -> dict[str, Any]:
    """Write `index.csv`, `images.npy`, `rejected.csv` and `cells/` into `folder` and return the summary.

    Raises:
        UserError: no such data, a layout that is not clear, fewer than two classes, a wrong `data.positive`, more
            refused files than `data.max_rejected`.
    """
    root = Path(params.root)
    listing, tree = layouts.read(root, params.layout)
    rejected = tree.rejected + listing.rejected
    if not listing.entries:
        raise _refusal(rejected, params) or UserError(f"data.root: no images found under {root.absolute()}")
    found = store.fill(folder / "images.npy", listing.entries, params)
    pairs = list(zip(listing.entries, found, strict=True))
    rejected += [(entry.image, reason) for entry, reason in pairs if isinstance(reason, str)]
    index = pd.DataFrame([_record(entry, facts) for entry, facts in pairs if isinstance(facts, images.Facts)])
    if len(index):
        keep, contradictions = _without_contradictions(index)
        rejected += contradictions
    if error := _refusal(rejected, params):
        raise error
    if not len(index):
        raise UserError(f"data.root: none of the images under {root.absolute()} can be read")
    store.keep_rows(folder / "images.npy", np.flatnonzero(keep))
    index = _finished(index[keep].reset_index(drop=True))
    classes = _classes(index, listing, root)
    positive = _positive(classes, listing, params)
    index[COLUMNS].to_csv(folder / "index.csv", index=False, lineterminator="\n")
    table = pd.DataFrame(sorted(rejected), columns=["file", "reason"])
    table.to_csv(folder / "rejected.csv", index=False, lineterminator="\n")
    evidence.write_cells(folder / "cells", folder / "images.npy", index, classes)
    synthetic = cnmc.is_synthetic(root)
    return {
        "name": "Synthetic cells" if synthetic else evidence.name(index, listing, root),
        "synthetic": synthetic,
        "classes": classes,
        "positive": positive,
        "size": params.pixels,
        "crop": params.crop,
        "center": params.center,
        "ignored": tree.ignored,
        **evidence.summary(index, listing, sorted(rejected), synthetic=synthetic),
    }


def _record(entry: Entry, facts: images.Facts) -> dict[str, Any]:
    x, y, w, h = facts.box
    return {
        "image": entry.image, "label": entry.label or "", "patient": entry.patient or "", "origin": entry.origin,
        "width": facts.width, "height": facts.height, "mode": facts.mode,
        "file_sha256": facts.file_sha256, "pixel_sha256": facts.pixel_sha256,
        "box_x": x, "box_y": y, "box_w": w, "box_h": h, "scaled_in": facts.scaled_in,
    }  # fmt: skip


def _without_contradictions(index: pd.DataFrame) -> tuple["pd.Series[bool]", list[Refusal]]:
    """Which rows stay, and the copies that carry several labels: nobody knows which of them is right."""
    groups = subjects.copies(index)
    bad = groups[groups["labels"].str.len() > 1]
    rejected = [
        (image, "contradiction: identical pixels are labelled " + " and ".join(labels))
        for members, labels in zip(bad["images"], bad["labels"], strict=True)
        for image in members
    ]
    return ~index["pixel_sha256"].isin(bad["pixel_sha256"]), rejected


def _finished(index: pd.DataFrame) -> pd.DataFrame:
    index.insert(0, "row", np.arange(len(index)))
    index["subject"] = subjects.assign(index)
    # Other images with the same pixels.
    index["copies"] = index.groupby("pixel_sha256")["image"].transform("size") - 1
    return index


def _classes(index: pd.DataFrame, listing: Listing, root: Path) -> list[str]:
    found = sorted(set(index["label"]) - {""})
    classes = list(listing.classes) or found
    for name in classes:
        if name not in found:
            raise UserError(f"class {name} has no images under {root.absolute()}: both classes are needed to learn")
    if len(classes) < 2:
        what = f"one class only, {classes[0]}" if classes else "no labelled image"
        raise UserError(f"data.root: {root.absolute()} holds {what}: at least two classes are needed to learn")
    return classes


def _positive(classes: list[str], listing: Listing, params: Data) -> str | None:
    """The class whose finding counts: ALL in C-NMC, otherwise the last of two; with more classes there is none."""
    if params.positive == "auto":
        in_cnmc = listing.layout == "c-nmc"
        return None if len(classes) > 2 else cnmc.POSITIVE if in_cnmc else classes[-1]
    if len(classes) > 2:
        raise UserError(
            f"data.positive={params.positive}: with {len(classes)} classes none of them is the positive one; use auto"
        )
    if params.positive not in classes:
        raise UserError(f"data.positive={params.positive}: the classes are {' and '.join(classes)}; use one, or auto")
    return params.positive


def _refusal(rejected: list[Refusal], params: Data) -> UserError | None:
    if len(rejected) <= params.max_rejected:
        return None
    first = "\n".join(f"  {file}: {reason}" for file, reason in sorted(rejected)[:10])
    more = f"\n  … and {len(rejected) - 10} more" if len(rejected) > 10 else ""
    return UserError(
        f"{len(rejected)} files under {params.root} cannot be used:\n{first}{more}\n"
        f"Mend or remove them, or accept them with data.max_rejected={len(rejected)}: "
        "each stays listed in rejected.csv."
    )
