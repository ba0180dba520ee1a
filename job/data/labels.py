"""Anybody's images with a table beside them: `labels.csv` with the columns file, patient, label[, split]."""

import re
import unicodedata
from functools import partial
from pathlib import Path, PurePosixPath

from job.contracts.names import filled, misnamed
from job.contracts.tables import read_rows
from job.data.tree import NOT_AN_IMAGE, SUFFIXES, Entry, Listing, Refusal, Tree, shown
from job.errors import UserError

NAME = "labels.csv"
COLUMNS = ("file", "patient", "label")
SPLITS = ("train", "test", "unlabelled")
_NO_CLASS = ("unlabelled", "unlabeled", "notlabelled", "notlabeled")
_composed = partial(unicodedata.normalize, "NFC")


def mark(tree: Tree) -> str:
    """What shows that a folder has this layout: its table; or nothing."""
    table = _table(tree)
    return f"the table {table}" if table else ""


def listing(root: Path, tree: Tree) -> Listing:
    """List the images that the table names.

    A row with `split` = `unlabelled` needs no label and no patient; any other row needs a label, and a patient unless
    no row has one. A UserError says what keeps the table from being read.
    """
    table = _table(tree) or NAME
    rows, problems = read_rows(root / table, COLUMNS)
    if not rows:
        raise UserError(f"{root / table} has no rows below its header: write one for each image, {','.join(COLUMNS)}")
    if meant := misnamed(list(rows[0][1]), (*COLUMNS, "split")):
        raise UserError(f"{root / table}: column {meant[0]!r} is not read: call it {meant[1]!r}, or take it out")
    images = _Images(root, tree.images)
    patients_known = any(filled(row["patient"]) for _, row in rows)
    entries: dict[str, Entry] = {}
    contradicted: set[str] = set()
    named: set[str | None] = set()
    for number, row in rows:
        image = images.find(row["file"])
        named.add(image)
        entry = _entry(image, row, patients_known=patients_known)
        if isinstance(entry, str):
            problems.append((number, entry))
        elif entries.setdefault(entry.image, entry) is not entry:
            problems.append((number, f"{entry.image} has a second row"))
            if entries[entry.image] != entry:
                contradicted.add(entry.image)
    rejected: list[Refusal] = [(table, f"line {number}: {shown(problem)}") for number, problem in problems]
    rejected += [(other, NOT_AN_IMAGE) for other in tree.others if other != table]
    rejected += [(image, f"label missing in {NAME}") for image in tree.images if image not in named]
    rejected += [(image, f"contradiction: rows of {NAME} disagree about it") for image in sorted(contradicted)]
    kept = [entries[image] for image in tree.images if image in entries and image not in contradicted]
    warnings = _not_used(rows) + _of_several_classes(kept)
    if other := images.other_names:
        example = f"{shown(other[0][0])} for {other[0][1]}"
        warnings.append(f"{NAME} calls {len(other):,} files otherwise than they are called, such as {example}.")
    return Listing(kept, rejected, warnings=warnings)


def _table(tree: Tree) -> str | None:
    """The label file at the top of the tree, in any case."""
    return next((file for file in tree.others if file.lower() == NAME), None)


class _Images:
    """The images of the folder `root` by the names that a table may give them."""

    def __init__(self, root: Path, images: list[str]) -> None:
        self.root = f"/{root.resolve().name}/"
        self.loose: dict[str, list[str]] = {}
        for image in images:
            self.loose.setdefault(_loose(image), []).append(image)
        self.other_names: list[tuple[str, str]] = []  # names in the table and in the folder, where they differ

    def find(self, name: str) -> str | None:
        """The image of this name, or the only one in another case, with another extension or none, or below the root.

        Accents are composed or not, backslashes are slashes; `./` or the root's path on any machine may stand in front.
        """
        path = name.replace("\\", "/")
        parts = f"/{PurePosixPath(path)}".split(self.root)
        for candidate in (name, path, *(self.root.join(parts[start:]) for start in range(1, len(parts)))):
            found = self.loose.get(_loose(candidate), [])
            same = [image for image in found if _composed(image) == _composed(str(PurePosixPath(candidate)))] or found
            if len(same) == 1:
                if _composed(same[0]) != _composed(str(PurePosixPath(path))):
                    self.other_names.append((name, same[0]))
                return same[0]
        return None


def _loose(name: str) -> str:
    """A path without its case and without the extension of an image."""
    path = PurePosixPath(_composed(name).casefold())
    return str(path.with_suffix("") if path.suffix in SUFFIXES else path)


def _entry(image: str | None, row: dict[str, str], *, patients_known: bool) -> Entry | str:
    """The entry of a row, or the reason why it is refused."""
    if image is None:
        hint = ": write it relative to the data folder" if re.match(r"[/\\]|\w:", row["file"]) else ""
        return f"row for {row['file']!r} without a file{hint}"
    label, patient = (_composed(filled(row[name])) for name in ("label", "patient"))
    label = "" if label.casefold().replace(" ", "") in _NO_CLASS else label
    split = filled(row.get("split", "")).lower() or ("train" if label else "")
    if any(shown(name) != name for name in (label, patient)):
        return "label or patient with control characters"
    if not split:
        return f"label missing: fill it in, or set split to unlabelled for {image}{_gap(row['label'])}"
    if split not in SPLITS:
        return f"unknown split {row['split']!r}: expected {', '.join(SPLITS)} or nothing"
    if split == "unlabelled":
        return Entry(image, "", patient, split)
    missing = "label" if not label else "patient" if patients_known and not patient else None
    return f"{missing} missing for {image}{_gap(row[missing])}" if missing else Entry(image, label, patient, split)


def _gap(text: str) -> str:
    return f" ({text!r} stands for a missing value)" if text else ""


def _not_used(rows: list[tuple[int, dict[str, str]]]) -> list[str]:
    """Warnings of what the table says and nothing reads: further columns, labels of images called unlabelled."""
    columns = [name for name in rows[0][1] if name not in (*COLUMNS, "split", "")]
    sentences = [f"Not used of {NAME}: the columns {', '.join(columns)}."] if columns else []
    labels = sum(row.get("split", "").lower() == "unlabelled" and filled(row["label"]) != "" for _, row in rows)
    return sentences + ([f"Not used of {NAME}: {labels} labels of rows with split unlabelled."] if labels else [])


def _of_several_classes(entries: list[Entry]) -> list[str]:
    """A warning of patients with cells of several classes, who may be a word for nobody in particular."""
    classes: dict[str, set[str]] = {}
    for entry in entries:
        classes.setdefault(entry.patient, set()).add(entry.label)
    several = [patient for patient, labels in classes.items() if patient and len(labels - {""}) > 1]
    if not several:
        return []
    names = ", ".join(map(shown, several[:5])) + (" …" if len(several) > 5 else "")
    return [f"Patients with cells of several classes: {names}. Where a name stands for nobody, leave it empty."]
