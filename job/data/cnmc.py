"""The official C-NMC 2019 folder layout: which files are images, and what their names and folders say.

Paths are parsed here and nowhere else. Source of the layout: Gupta & Gupta 2019, The Cancer Imaging Archive,
doi:10.7937/tcia.2019.dc64i46r, as published on Kaggle.
"""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from job.errors import UserError

CLASSES = ("HEM", "ALL")
POSITIVE = "ALL"
SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})
PRELIMINARY = PurePosixPath("validation_data/C-NMC_test_prelim_phase_data")
PRELIMINARY_LABELS = PurePosixPath("validation_data/C-NMC_test_prelim_phase_data_labels.csv")
FINAL = PurePosixPath("testing_data/C-NMC_test_final_phase_data")
SYNTHETIC_MARK = "SYNTHETIC.txt"

_NAME = re.compile(r"UID_(?P<patient>H?\d+)_\d+_\d+_(?P<label>all|hem)", re.IGNORECASE)
_LITTER = re.compile(r"^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini)$", re.IGNORECASE)
_HOW_TO_GET = (
    "Get C-NMC 2019 from Kaggle (andrewmvd/leukemia-classification) or The Cancer Imaging Archive, "
    "unpack it and set data.root to the folder that holds training_data/."
)


@dataclass(frozen=True)
class Entry:
    """One image file: path relative to the root, class name or None, patient or None, part of the data set."""

    image: str
    label: str | None
    patient: str | None
    origin: str


@dataclass(frozen=True)
class Listing:
    """What a root folder holds: images sorted by path, refused files with their reason, the count of system litter."""

    entries: list[Entry]
    rejected: list[tuple[str, str]]
    ignored: int
    synthetic: bool


def parse_name(name: str) -> tuple[str, str] | None:
    """Patient and class of an official file name, or None for any other name.

    The patient is given in upper case: the published set spells one of them `h3`.
    """
    match = _NAME.fullmatch(PurePosixPath(name).stem)
    return (match["patient"].upper(), match["label"].upper()) if match else None


def listing(root: Path) -> Listing:
    """List the images of a C-NMC folder.

    Raises:
        UserError: the folder is missing, or has no training_data/.
    """
    if not root.is_dir():
        raise UserError(f"data.root: folder {root.absolute()} does not exist. {_HOW_TO_GET}")
    if not (root / "training_data").is_dir():
        raise UserError(f"data.root: {root.absolute()} has no folder training_data/. {_HOW_TO_GET}")
    rejected: list[tuple[str, str]] = []
    entries: list[Entry] = []
    ignored = 0
    labels = _preliminary_labels(root, rejected)
    for path in _files(root):
        image = path.relative_to(root).as_posix()
        if _LITTER.match(path.name):
            ignored += 1
        elif path.suffix.lower() not in SUFFIXES:
            if image not in (PRELIMINARY_LABELS.as_posix(), SYNTHETIC_MARK):
                rejected.append((image, "not an image by its extension"))
        else:
            entry = _entry(image, labels)
            if isinstance(entry, Entry):
                entries.append(entry)
            else:
                rejected.append((image, entry))
    present = {PurePosixPath(entry.image).stem for entry in entries if entry.origin == "preliminary"}
    without_file = sorted(set(labels) - present)
    rejected += [(PRELIMINARY_LABELS.as_posix(), f"row for image {stem} without a file") for stem in without_file]
    _check_patients(entries)
    return Listing(entries, sorted(rejected), ignored, (root / SYNTHETIC_MARK).is_file())


def _files(root: Path) -> list[Path]:
    """All files below the root, also behind linked folders, as data on clusters often is."""
    return sorted(Path(folder) / name for folder, _, names in os.walk(root, followlinks=True) for name in names)


def _entry(image: str, labels: dict[str, tuple[str, str]]) -> Entry | str:
    """The entry of one image path, or the reason why it is refused."""
    path = PurePosixPath(image)
    if path.parts[0] == "training_data":
        return _training_entry(path)
    if path.parent == PRELIMINARY:
        if path.stem not in labels:
            return f"label missing in {PRELIMINARY_LABELS.name}"
        patient, label = labels[path.stem]
        return Entry(image, label, patient, "preliminary")
    if path.parent == FINAL:
        return Entry(image, None, None, "final")
    return "unknown folder: not part of the C-NMC layout"


def _training_entry(path: PurePosixPath) -> Entry | str:
    parsed = parse_name(path.name)
    if parsed is None:
        return "unknown name: expected UID_<patient>_<image>_<cell>_<all or hem>"
    patient, label = parsed
    folder = path.parent.name.upper()
    if folder not in CLASSES:
        return f"unknown folder: expected {' or '.join(name.lower() for name in CLASSES)}, not {path.parent.name}"
    if folder != label:
        return f"contradiction: folder says {folder}, name says {label}"
    return Entry(str(path), label, patient, "train")


def _preliminary_labels(root: Path, rejected: list[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Number of a file to (patient, class), from the label file of the preliminary part; empty without the file.

    A copy re-saved in another format keeps its number: row 12.bmp is the label of 12.png too.
    """
    path = root / PRELIMINARY_LABELS
    if not path.is_file():
        return {}
    labels: dict[str, tuple[str, str]] = {}
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        missing = {"Patient_ID", "new_names", "labels"} - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{path}: column {', '.join(sorted(missing))} is missing; take the file as published")
        for number, row in enumerate(reader, start=2):
            parsed = parse_name(row["Patient_ID"] or "")
            stated = {"1": "ALL", "0": "HEM"}.get((row["labels"] or "").strip())
            name = (row["new_names"] or "").strip()
            if parsed is None:
                rejected.append((PRELIMINARY_LABELS.as_posix(), f"line {number}: unknown name {row['Patient_ID']!r}"))
            elif stated != parsed[1]:
                reason = f"line {number}: contradiction: name says {parsed[1]}, label column says {row['labels']!r}"
                rejected.append((PRELIMINARY_LABELS.as_posix(), reason))
            else:
                labels[PurePosixPath(name).stem] = parsed
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
