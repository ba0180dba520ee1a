"""The official C-NMC 2019 folder layout: which files are images, and what their names and folders say.

Its paths are parsed here and nowhere else. Source of the layout: Gupta & Gupta 2019, The Cancer Imaging Archive,
doi:10.7937/tcia.2019.dc64i46r, as published on Kaggle.
"""

import os
import re
from itertools import groupby
from pathlib import Path, PurePosixPath

from job.data.rows import read_rows
from job.data.tree import NOT_AN_IMAGE, Entry, Listing, Refusal, Tree
from job.errors import UserError

CLASSES = ("HEM", "ALL")
POSITIVE = "ALL"
TRAINING = "training_data"
PRELIMINARY = PurePosixPath("validation_data/C-NMC_test_prelim_phase_data")
PRELIMINARY_LABELS = PurePosixPath("validation_data/C-NMC_test_prelim_phase_data_labels.csv")
FINAL = PurePosixPath("testing_data/C-NMC_test_final_phase_data")
SYNTHETIC_MARK = "SYNTHETIC.txt"
PUBLISHED = {"images": 12_528, "patients": 101, "subjects": 94, "final": 2_586}
PUBLISHED_FOLDERS = {
    "training_data/fold_0/all": 2_397, "training_data/fold_0/hem": 1_130,
    "training_data/fold_1/all": 2_418, "training_data/fold_1/hem": 1_163,
    "training_data/fold_2/all": 2_457, "training_data/fold_2/hem": 1_096,
    str(PRELIMINARY): 1_867, str(FINAL): 2_586,
}  # fmt: skip
"""Images in each folder of the published set."""
HOW_TO_GET = (
    "Get C-NMC 2019 from Kaggle (andrewmvd/leukemia-classification) or The Cancer Imaging Archive, "
    f"unpack it and set data.root to the folder that holds {TRAINING}/."
)

_PARTS = (TRAINING, PRELIMINARY.parts[0], FINAL.parts[0])
_NAME = re.compile(r"UID_(?P<patient>H?\d+)_\d+_\d+_(?P<label>all|hem)", re.IGNORECASE | re.ASCII)


def is_synthetic(root: Path) -> bool:
    """Whether cells under a root were drawn by a program: the mark lies in it, in a folder of it, or above it."""
    above = any((folder / SYNTHETIC_MARK).is_file() for folder in (root, *root.resolve().parents))
    return above or any(SYNTHETIC_MARK in names for _, _, names in os.walk(root))


def parse_name(name: str) -> tuple[str, str] | None:
    """Patient and class of an official file name, or None for any other name.

    The patient is given in upper case: the published set spells one of them `h3`.
    """
    match = _NAME.fullmatch(PurePosixPath(name).stem)
    return (match["patient"].upper(), match["label"].upper()) if match else None


def official(image: str) -> PurePosixPath:
    """The path in the published set, for a set that was unpacked one level too deep or has `fold_0/fold_0`."""
    parts = [name for name, _ in groupby(image.split("/"))]
    return PurePosixPath(*(parts[1:] if parts[0] not in _PARTS and parts[1:2] and parts[1] in _PARTS else parts))


def recognises(tree: Tree) -> bool:
    """Whether there are images in a folder named like the training part of C-NMC."""
    return any(TRAINING in image.split("/")[:-1] for image in tree.images)


def listing(root: Path, tree: Tree, reason: str) -> Listing:
    """List the images of a C-NMC folder.

    Raises:
        UserError: there is no training part, the label file is none, or a patient has both labels.
    """
    if not any(official(image).parts[0] == TRAINING for image in tree.images):
        deeper = sorted({image.split(f"/{TRAINING}/")[0] for image in tree.images if f"/{TRAINING}/" in image})
        hint = f" There is one below {deeper[0]}/: name that folder." if deeper else f" {HOW_TO_GET}"
        raise UserError(f"data.root: {root.absolute()} has no folder {TRAINING}/ with images.{hint}")
    rejected: list[Refusal] = []
    known = (PRELIMINARY_LABELS, PurePosixPath(SYNTHETIC_MARK))
    rejected += [(file, NOT_AN_IMAGE) for file in tree.others if official(file) not in known]
    files = [file for file in tree.others if official(file) == PRELIMINARY_LABELS]
    labels = _preliminary_labels(root, files[0], rejected) if files else {}
    entries: list[Entry] = []
    seen: dict[str, str] = {}
    for image in tree.images:
        entry = _entry(image, labels)
        # Within a part a name is one cell, whatever its folder and format: twice means unpacked or converted twice.
        key = f"{entry.origin}/{official(image).stem.upper()}" if isinstance(entry, Entry) else ""
        if not isinstance(entry, Entry):
            rejected.append((image, entry))
        elif key in seen:
            rejected.append((image, f"the same name as {seen[key]}: unpacked or converted twice, remove one"))
        else:
            seen[key] = image
            entries.append(entry)
    present = {PurePosixPath(entry.image).stem for entry in entries if entry.origin == "preliminary"}
    rejected += [(files[0], f"row for image {stem} without a file") for stem in sorted(set(labels) - present)]
    _check_patients(entries)
    return Listing("c-nmc", reason, entries, rejected, CLASSES)


def folder_counts(images: list[str]) -> list[dict[str, str | int]]:
    """Images in each folder of the published set: `folder`, `published`, `found`."""
    folders = [str(official(image).parent) for image in images]
    return [
        {"folder": folder, "published": published, "found": folders.count(folder)}
        for folder, published in PUBLISHED_FOLDERS.items()
    ]


def _entry(image: str, labels: dict[str, tuple[str, str] | str]) -> Entry | str:
    """The entry of one image path, or the reason why it is refused."""
    path = official(image)
    if path.parts[0] == TRAINING:
        return _training_entry(image, path)
    if path.parent == PRELIMINARY:
        found = labels.get(path.stem, f"label missing in {PRELIMINARY_LABELS.name}")
        return found if isinstance(found, str) else Entry(image, found[1], found[0], "preliminary")
    if path.parent == FINAL:
        return Entry(image, None, None, "final")
    return "unknown folder: not part of the C-NMC layout"


def _training_entry(image: str, path: PurePosixPath) -> Entry | str:
    parsed = parse_name(path.name)
    if parsed is None:
        return "unknown name: expected UID_<patient>_<image>_<cell>_<all or hem>"
    patient, label = parsed
    folder = path.parent.name.upper()
    if folder not in CLASSES:
        return f"unknown folder: expected {' or '.join(name.lower() for name in CLASSES)}, not {path.parent.name}"
    if folder != label:
        return f"contradiction: folder says {folder}, name says {label}"
    return Entry(image, label, patient, "train")


def _preliminary_labels(root: Path, file: str, rejected: list[Refusal]) -> dict[str, tuple[str, str] | str]:
    """Number of a file to (patient, class), or to the reason why nobody knows them.

    A copy re-saved in another format keeps its number: row 12.bmp is the label of 12.png too.
    """
    rows, refused = read_rows(root / file, ("Patient_ID", "new_names", "labels"))
    rejected += [(file, f"line {number}: {reason}") for number, reason in refused]
    labels: dict[str, tuple[str, str] | str] = {}
    for number, row in rows:
        parsed = parse_name(row["Patient_ID"])
        stated = {"1": "ALL", "0": "HEM"}.get(row["labels"])
        stem = PurePosixPath(row["new_names"]).stem
        if parsed is None:
            rejected.append((file, f"line {number}: unknown name {row['Patient_ID']!r}"))
        elif stated != parsed[1]:
            reason = f"line {number}: contradiction: name says {parsed[1]}, label column says {row['labels']!r}"
            rejected.append((file, reason))
        elif stem in labels:
            rejected.append((file, f"line {number}: image {stem} has a second row"))
            if labels[stem] != parsed:
                labels[stem] = f"contradiction: two rows of {PRELIMINARY_LABELS.name} name different cells"
        else:
            labels[stem] = parsed
    return labels


def _check_patients(entries: list[Entry]) -> None:
    labels: dict[str, str] = {}
    for entry in entries:
        if entry.patient is None or entry.label is None:
            continue
        first = labels.setdefault(entry.patient, entry.label)
        if first != entry.label:
            raise UserError(
                f"patient {entry.patient} has images of both {first} and {entry.label} (for example {entry.image}): "
                "in C-NMC a patient is either ill or healthy; remove or rename the wrong files"
            )
