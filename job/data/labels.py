"""Anybody's images with a table beside them: `labels.csv` with the columns file, patient, label[, split]."""

import unicodedata
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath

from job.contracts.tables import read_rows
from job.data.tree import NOT_AN_IMAGE, SYNTHETIC_MARK, Entry, Listing, Refusal, Tree, shown

NAME = "labels.csv"
SPLITS = ("train", "test", "unlabelled")
_composed = partial(unicodedata.normalize, "NFC")


def mark(tree: Tree) -> str:
    """What shows that a folder has this layout: its table; or nothing."""
    table = _table(tree)
    return f"the table {table}" if table else ""


def listing(root: Path, tree: Tree) -> Listing:
    """List the images that the table names.

    `file` is the path relative to the root. A row with `split` = `unlabelled` needs no label and no patient; any other
    row needs a label, and a patient unless no row has one. A UserError says what keeps the table from being read.
    """
    table = _table(tree) or NAME
    rows, problems = read_rows(root / table, ("file", "patient", "label"))
    images = {_composed(image): image for image in tree.images}
    patients_known = any(row["patient"] for _, row in rows)
    entries: dict[str, Entry] = {}
    contradicted: set[str] = set()
    for number, row in rows:
        entry = _entry(_find(images, row["file"]), row, patients_known=patients_known)
        if isinstance(entry, str):
            problems.append((number, entry))
        elif entries.setdefault(entry.image, entry) is not entry:
            problems.append((number, f"{entry.image} has a second row"))
            if entries[entry.image] != entry:
                contradicted.add(entry.image)
    rejected: list[Refusal] = [(table, f"line {number}: {shown(problem)}") for number, problem in problems]
    rejected += [(other, NOT_AN_IMAGE) for other in tree.others if other not in (table, SYNTHETIC_MARK)]
    rejected += [(image, f"label missing in {NAME}") for image in tree.images if image not in entries]
    rejected += [(image, f"contradiction: rows of {NAME} disagree about it") for image in sorted(contradicted)]
    kept = [entries[image] for image in tree.images if image in entries and image not in contradicted]
    return Listing(kept, rejected, warnings=_spelt_alike(kept))


def _table(tree: Tree) -> str | None:
    """The label file at the top of the tree, in any case."""
    return next((file for file in tree.others if file.lower() == NAME), None)


def _find(images: dict[str, str], name: str) -> str | None:
    """The image that a table calls by this name: with composed or decomposed accents, `./` in front, backslashes."""
    plain = _composed(name)
    return images.get(str(PurePosixPath(plain))) or images.get(str(PurePosixPath(plain.replace("\\", "/"))))


def _entry(image: str | None, row: dict[str, str], *, patients_known: bool) -> Entry | str:
    """The entry of a row, or the reason why it is refused."""
    if image is None:
        return f"row for {row['file']!r} without a file"
    label, patient = (_composed(row[name]) for name in ("label", "patient"))
    split = row.get("split", "").lower() or ("train" if label else "")
    if any(shown(name) != name for name in (label, patient)):
        return "label or patient with control characters"
    if not split:
        return f"label missing: fill it in, or set split to unlabelled for {image}"
    if split not in SPLITS:
        return f"unknown split {row['split']!r}: expected {', '.join(SPLITS)} or nothing"
    if split == "unlabelled":
        return Entry(image, "", patient, split)
    missing = "label" if not label else "patient" if patients_known and not patient else None
    return f"{missing} missing for {image}" if missing else Entry(image, label, patient, split)


def _spelt_alike(entries: list[Entry]) -> list[str]:
    """A warning of patients that differ in upper and lower case alone: one may be on both sides of a split."""
    patients = sorted({entry.patient for entry in entries if entry.patient})
    spellings = Counter(patient.casefold() for patient in patients)
    alike = [patient for patient in patients if spellings[patient.casefold()] > 1]
    return [f"Patients {', '.join(alike)} differ only in upper and lower case and count as different."] if alike else []
