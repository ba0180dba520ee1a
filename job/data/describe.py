"""What `prepare` says of the images it read: counts, copies, sizes, refusals, warnings, and a few cells to look at."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from job.data import subjects
from job.data.near_copies import NearCopy
from job.data.tree import Listing, Refusal, is_synthetic, reasons

_SHEET = 12  # cells of each class on the contact sheet
_CELL = 96  # pixels
_LISTED = 50  # refused files that the report names; rejected.csv has all
_SIZES = 8  # sizes and modes that are counted one by one


def summary(index: pd.DataFrame, listing: Listing, rejected: list[Refusal], root: Path) -> dict[str, Any]:
    """Facts about the prepared images that do not follow from the parameters.

    The name is that of the published data set, whole or a partial copy, or else of the folder `root`. `index` has the
    columns `scaled_in`, `bodies` and `folder` beside those of index.csv.
    """
    people = index.loc[index["patient"] != "", ["patient", "subject"]].drop_duplicates()
    patients_known = len(people) > 0
    linked = people[people.duplicated("subject", keep=False)].groupby("subject")["patient"]
    somebody = (index["label"] != "") | (index["patient"] != "")
    copies = index[index.duplicated("pixel_sha256", keep=False)]
    owners = copies[copies["patient"] != ""].groupby("pixel_sha256")["patient"].nunique()
    synthetic, counts = is_synthetic(root), Counter(index["folder"])
    published = {} if synthetic else listing.published
    folders = [{"folder": key, "published": images, "found": counts[key]} for key, images in published.items()]
    whole = listing.name if published.items() <= counts.items() else f"{listing.name} (partial copy)"
    return {
        "name": "Synthetic cells" if synthetic else whole if listing.name else root.resolve().name,
        "synthetic": synthetic,
        "layout": listing.layout,
        "layout_reason": listing.reason,
        "patients_known": patients_known,
        "warnings": listing.warnings + _warnings(index, folders, listing.name, patients_known=patients_known),
        "images": len(index),
        "labelled": int((index["label"] != "").sum()),
        "patients": int(people["patient"].nunique()),
        "subjects": int(index.loc[somebody, "subject"].nunique()),
        "rejected": len(rejected),
        "reasons": reasons(rejected),
        "refusals": [{"file": file, "reason": reason} for file, reason in rejected[:_LISTED]],
        "scaled_in": int(index["scaled_in"].sum()),
        "sizes": _sizes(index),
        "cell_side": _cell_side(index),
        "folders": folders,
        "copies": {
            "groups": copies["pixel_sha256"].nunique(),
            "images": len(copies),
            "across_patients": int((owners > 1).sum()),
            "linked_patients": [sorted(members, key=subjects.natural) for _, members in linked],
        },
    }


def write_cells(folder: Path, store: Path, index: pd.DataFrame, classes: list[str]) -> None:
    """Pictures of cells: a strip per class, `0.png` for the first.

    A strip is evenly spaced from the smallest to the largest box: a choice by size needs no chance, and shows the
    extremes that a draw would miss.
    """
    array = np.load(store, mmap_mode="r")
    folder.mkdir()
    for number, label in enumerate(classes):
        rows = index[index["label"] == label]
        ordered = rows.assign(area=rows["box_w"] * rows["box_h"]).sort_values(["area", "image"])["row"].to_numpy()
        chosen = ordered[np.unique(np.linspace(0, len(ordered) - 1, _SHEET).round().astype(int))]
        picture = Image.new("RGB", (_CELL * len(chosen), _CELL))
        for across, row in enumerate(chosen):
            cell = Image.fromarray(np.asarray(array[row])).resize((_CELL, _CELL), Image.Resampling.BICUBIC)
            picture.paste(cell, (_CELL * across, 0))
        picture.save(folder / f"{number}.png")


def links(index: pd.DataFrame, pairs: Sequence[NearCopy]) -> list[dict[str, Any]]:
    """Pairs of patients that near copies link, with the number of these and the closest one, by its rows."""
    closest: dict[tuple[str, ...], dict[str, Any]] = {}
    patient = index["patient"].tolist()
    for pair in sorted(pairs, key=lambda pair: -pair.agreement):
        people = sorted({patient[pair.one], patient[pair.other]} - {""}, key=subjects.natural)
        if len(people) == 2:
            facts = {"rows": [pair.one, pair.other], "agreement": round(pair.agreement, 3), "pairs": 0}
            entry = closest.setdefault(tuple(people), {"patients": people} | facts)
            entry["pairs"] += 1
    return sorted(closest.values(), key=lambda entry: [subjects.natural(name) for name in entry["patients"]])


def contradictions(index: pd.DataFrame, pairs: Sequence[NearCopy]) -> list[str]:
    """A warning where pictures of one cell have labels of two classes: one of them is wrong, and nobody knows which."""
    label = index["label"].tolist()
    wrong = [pair for pair in pairs if len({label[pair.one], label[pair.other]} - {""}) == 2]
    if not wrong:
        return []
    first = " and ".join(index["image"].iloc[row] for row in (wrong[0].one, wrong[0].other))
    return [f"{len(wrong):,} near copies have labels of two classes, such as {first}: one of the two is wrong."]


def _warnings(index: pd.DataFrame, folders: list[dict[str, Any]], name: str, *, patients_known: bool) -> list[str]:
    sentences = []
    different = [row for row in folders if row["found"] != row["published"]]
    total, published = len(index), sum(row["published"] for row in folders)
    if folders and (different or total > published):
        parts = "; ".join(f"{row['folder']} has {row['found']:,} of {row['published']:,}" for row in different)
        kind = f"A partial copy of {name}" if total < published else f"Not the published {name}"
        sentences.append(f"{kind}: {total:,} of {published:,} images. {parts}.")
    if not patients_known:
        sentences.append(
            "No patients are known: every image counts as a subject of its own. Cells of one person may stand in "
            "training and test, so every figure may be better than on new persons, and intervals may be too narrow."
        )
    filled = (index["box_w"] == index["width"]) & (index["box_h"] == index["height"])
    odd = index[(index["bodies"] > 2) | (filled & (2 * filled.sum() <= len(index)))]
    if len(odd):
        what = "show several bodies, or fill the image to its edges: fields of cells, or another background"
        sentences.append(f"{len(odd):,} pictures {what}, such as {odd['image'].iloc[0]}.")
    if 2 * filled.sum() > len(index):
        sentences.append(
            f"On {filled.sum():,} of {len(index):,} images the cell's box is the whole image: the background is not "
            "black, so cell sizes mean nothing here, a crop around the cell keeps the whole image, and only copies "
            "with the same pixels are found, no near copies."
        )
    return sentences


def _sizes(index: pd.DataFrame) -> list[dict[str, Any]]:
    """Images by size in pixels and mode of the file, most frequent first; the rest in one row without a size."""
    counts = index.groupby(["width", "height", "mode"]).size().reset_index(name="images")
    counts = counts.sort_values(["images", "width", "height", "mode"], ascending=[False, True, True, True])
    rows: list[dict[Any, Any]] = counts.head(_SIZES).to_dict("records")
    rest = int(counts["images"].iloc[_SIZES:].sum())
    return [*rows, {"width": None, "height": None, "mode": None, "images": rest}] if rest else rows


def _cell_side(index: pd.DataFrame) -> list[dict[str, Any]]:
    """Longest side of the cell's box in pixels of the file, by class; `label` is None for unlabelled images."""
    side = index[["box_w", "box_h"]].max(axis=1)
    rows = []
    for label, values in side.groupby(index["label"]):
        median, p90, p99 = np.quantile(values, [0.5, 0.9, 0.99]).tolist()
        facts = {"images": len(values), "median": median, "p90": p90, "p99": p99, "largest": int(values.max())}
        rows.append({"label": label or None} | facts)
    return sorted(rows, key=lambda row: (row["label"] is None, row["label"] or ""))
