"""Anybody's images with a table beside them: `labels.csv` with the columns file, patient, label[, split]."""

import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath

from job.data.cnmc import SYNTHETIC_MARK
from job.data.rows import read_rows
from job.data.tree import NOT_AN_IMAGE, Entry, Listing, Refusal, Tree, shown

NAME = "labels.csv"
SPLITS = ("train", "test", "unlabelled")


def find(tree: Tree) -> str | None:
    """The label file at the top of the tree, in any case."""
    return next((file for file in tree.others if file.lower() == NAME), None)


def listing(root: Path, tree: Tree, reason: str) -> Listing:
    """List the images that the table names.

    `file` is the path relative to the root. A row with `split` = `unlabelled` needs no label and no patient; any other
    row needs a label, and a patient unless no row has one.

    Raises:
        UserError: the table is missing, or is none.
    """
    file = find(tree) or NAME
    rows, refused = read_rows(root / file, ("file", "patient", "label"))
    problems = [(number, reason) for number, reason in refused]
    files = _Files(tree.images)
    patients_known = any(row["patient"] for _, row in rows)
    entries: dict[str, Entry] = {}
    contradicted: set[str] = set()
    for number, row in rows:
        image = files.find(row["file"])
        found = (
            _entry(image, row, patients_known=patients_known) if image else f"row for {row['file']!r} without a file"
        )
        if isinstance(found, str):
            problems.append((number, found))
        elif found.image in entries:
            problems.append((number, f"{found.image} has a second row"))
            if entries[found.image] != found:
                contradicted.add(found.image)
        else:
            entries[found.image] = found
    rejected: list[Refusal] = [(file, f"line {number}: {shown(problem)}") for number, problem in problems]
    rejected += [(other, NOT_AN_IMAGE) for other in tree.others if other not in (file, SYNTHETIC_MARK)]
    rejected += [(image, f"label missing in {NAME}") for image in tree.images if image not in entries]
    rejected += [(image, f"contradiction: rows of {NAME} disagree about it") for image in sorted(contradicted)]
    kept = [entries[image] for image in tree.images if image in entries and image not in contradicted]
    return Listing("csv", reason, kept, rejected, warnings=_spelt_alike(kept))


class _Files:
    """Images by the spellings a table may use: composed or decomposed accents, `./` in front, backslashes."""

    def __init__(self, images: list[str]) -> None:
        self._images = {_composed(image): image for image in images}

    def find(self, name: str) -> str | None:
        """The image of that name, if there is one."""
        plain = _composed(name)
        spellings = (str(PurePosixPath(spelling)) for spelling in (plain, plain.replace("\\", "/")))
        return next((self._images[spelling] for spelling in spellings if spelling in self._images), None)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _entry(image: str, row: dict[str, str], *, patients_known: bool) -> Entry | str:
    """The entry of a row, or the reason why it is refused."""
    label, patient = (_composed(row[name]) for name in ("label", "patient"))
    split = row.get("split", "").lower() or ("train" if label else "")
    if any(shown(name) != name for name in (label, patient)):
        return "label or patient with control characters"
    if not split:
        return f"label missing: fill it in, or set split to unlabelled for {image}"
    if split not in SPLITS:
        return f"unknown split {row['split']!r}: expected {', '.join(SPLITS)} or nothing"
    if split == "unlabelled":
        return Entry(image, None, patient or None, split)
    missing = "label" if not label else "patient" if patients_known and not patient else None
    return f"{missing} missing for {image}" if missing else Entry(image, label, patient or None, split)


def _spelt_alike(entries: list[Entry]) -> list[str]:
    """Patients that differ in upper and lower case alone: one of them may be on both sides of a split."""
    patients = sorted({entry.patient for entry in entries if entry.patient})
    folded = Counter(patient.casefold() for patient in patients)
    alike = [patient for patient in patients if folded[patient.casefold()] > 1]
    return [f"Patients {', '.join(alike)} differ only in upper and lower case and count as different."] if alike else []
