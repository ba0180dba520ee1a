"""The official C-NMC 2019 folder layout: which files are images, and what their names and folders say.

Its paths are parsed here and nowhere else. Source: Gupta & Gupta 2019, The Cancer Imaging Archive,
doi:10.7937/tcia.2019.dc64i46r. Paths are given as in Kaggle's copy, whose names of the parts differ.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path, PurePosixPath

from job.contracts.tables import read_rows
from job.data.tree import NOT_AN_IMAGE, Entry, Listing, Refusal, Tree
from job.errors import UserError

CLASSES = ("HEM", "ALL")
TRAINING = "training_data"
FOLDS = ("fold_0", "fold_1", "fold_2")
PRELIMINARY = PurePosixPath("validation_data/C-NMC_test_prelim_phase_data")
PRELIMINARY_LABELS = PurePosixPath("validation_data/C-NMC_test_prelim_phase_data_labels.csv")
FINAL = PurePosixPath("testing_data/C-NMC_test_final_phase_data")
PUBLISHED = {
    "training_data/fold_0/all": 2_397, "training_data/fold_0/hem": 1_130,
    "training_data/fold_1/all": 2_418, "training_data/fold_1/hem": 1_163,
    "training_data/fold_2/all": 2_457, "training_data/fold_2/hem": 1_096,
    str(PRELIMINARY): 1_867, str(FINAL): 2_586,
}  # fmt: skip
"""Images in each folder of the published set."""
HOW_TO_GET = (
    "Get C-NMC 2019 from Kaggle (andrewmvd/leukemia-classification) or The Cancer Imaging Archive, "
    f"unpack it and set data.root to the folder that holds {TRAINING}/ or C-NMC_{TRAINING}/."
)

_PARTS = {
    "c_nmc_training_data": TRAINING, "training_data": TRAINING,
    "c_nmc_test_prelim_phase_data": str(PRELIMINARY), "validation_data": str(PRELIMINARY),
    "c_nmc_test_final_phase_data": str(FINAL), "testing_data": str(FINAL),
}  # fmt: skip
"""Folders of the parts, as The Cancer Imaging Archive and as Kaggle call them, and where they are in Kaggle's copy."""

_OWN = tuple(name for name in _PARTS if name not in ("validation_data", "testing_data"))
_NAME = re.compile(r"UID_(?P<patient>H?\d+)_\d+_\d+_(?P<label>all|hem)", re.IGNORECASE | re.ASCII)


def parse_name(name: str) -> tuple[str, str] | None:
    """Patient and class of an official file name, or None for any other name.

    The patient is given in upper case, because the published set spells one of them `h3`:
    `parse_name("UID_h3_1_2_hem.bmp")` is `("H3", "HEM")`.
    """
    match = _NAME.fullmatch(PurePosixPath(name).stem)
    return (match["patient"].upper(), match["label"].upper()) if match else None


def official(image: str) -> PurePosixPath:
    """The path in Kaggle's copy, for either copy in any case, also one level too deep or with `fold_0/fold_0`."""
    if image.lower().endswith(PRELIMINARY_LABELS.name.lower()):
        return PRELIMINARY_LABELS
    *folders, name = image.split("/")
    spelt = (_PARTS.get(_plain(folder), re.sub(r"^fold\W*(?=\d)", "fold_", folder.lower())) for folder in folders)
    parts = [part for part, _ in groupby(spelt)]
    known = set(_PARTS.values())
    return PurePosixPath(*(parts[1:] if parts[1:] and parts[0] not in known and parts[1] in known else parts), name)


def _plain(folder: str) -> str:
    return re.sub("[^a-z]+", "_", folder.lower()).strip("_")


def mark(tree: Tree) -> str:
    """What shows that a folder has this layout: images in a folder that is called like one of its parts; or nothing.

    Other data has a `training_data` too: there the names of images count.
    """
    folders = {
        folder
        for image in tree.images
        for folder in image.split("/")[:-1]
        if _plain(folder) in _OWN and (_plain(folder) != TRAINING or parse_name(image))
    }
    # The training part is named first.
    first = min(folders, key=lambda folder: (_OWN.index(_plain(folder)) > 1, folder), default="")
    return first and f"the folder {first}/ of C-NMC 2019"


def listing(root: Path, tree: Tree) -> Listing:
    """List the images; a UserError without a training part, with a part twice, or if a patient has both labels."""
    places = _places(root, tree)
    if not any(official(image).is_relative_to(TRAINING) for image in tree.images):
        deeper = places.get(TRAINING)
        hint = f" There is one below {deeper.parent}/: name that folder." if deeper else f" {HOW_TO_GET}"
        raise UserError(f"data.root: {root.absolute()} has no folder {TRAINING}/ with images.{hint}")
    tables = [file for file in tree.others if official(file) == PRELIMINARY_LABELS]
    rejected = [(file, NOT_AN_IMAGE) for file in tree.others if file not in tables]
    rejected += [(file, f"a second {PRELIMINARY_LABELS.name}: {tables[0]} is read") for file in tables[1:]]
    labels, refused = _preliminary_labels(root, tables[0]) if tables else ({}, [])
    unknown = f"label missing{' in' if tables else ': there is no'} {PRELIMINARY_LABELS.name}"
    entries: dict[str, Entry] = {}
    for image in tree.images:
        entry = _entry(image, labels, unknown)
        if isinstance(entry, str):
            rejected.append((image, entry))
            continue
        # Within a part a name is one cell, whatever its folder and format: twice means unpacked or converted twice.
        first = entries.setdefault(f"{official(image).parts[0]}/{official(image).stem.upper()}", entry)
        if first is not entry:
            rejected.append((image, f"the same name as {first.image}: unpacked or converted twice, remove one"))
    present = {PurePosixPath(entry.image).stem for entry in entries.values() if entry.origin == "preliminary"}
    refused += [(tables[0], f"row for image {stem} without a file") for stem in sorted(set(labels) - present)]
    _check_patients(entries.values())
    return Listing(list(entries.values()), rejected + refused, CLASSES, name="C-NMC 2019", published=PUBLISHED)


def _places(root: Path, tree: Tree) -> dict[str, PurePosixPath]:
    """The folder of each part, by the part's path in Kaggle's copy; a UserError where a part has two."""
    places: dict[str, PurePosixPath] = {}
    for folder in sorted({PurePosixPath(image).parent for image in tree.images}):
        place = next((one for one in (*reversed(folder.parents), folder) if _plain(one.name) in _PARTS), None)
        if place and (first := places.setdefault(_PARTS[_plain(place.name)], place)) != place:
            raise UserError(f"data.root: {root}: {first}/ and {place}/ are the same part of C-NMC 2019: move one away")
    return places


def _entry(image: str, labels: dict[str, tuple[str, str] | str], unknown: str) -> Entry | str:
    """The entry of one image path, or the reason why it is refused."""
    path = official(image)
    if path.parts[0] == TRAINING:
        return _training_entry(image, path)
    if path.parent == PRELIMINARY:
        cell = labels.get(path.stem, unknown)
        return cell if isinstance(cell, str) else Entry(image, cell[1], cell[0], "preliminary", str(PRELIMINARY))
    if path.parent == FINAL:
        return Entry(image, "", "", "final", str(FINAL))
    return "unknown folder: not part of the C-NMC layout"


def _training_entry(image: str, path: PurePosixPath) -> Entry | str:
    if (parsed := parse_name(path.name)) is None:
        return "unknown name: expected UID_<patient>_<image>_<cell>_<all or hem>"
    patient, label = parsed
    folder = path.parent.name.upper()
    if folder not in CLASSES or len(path.parts) > len((TRAINING, "fold_0", "all", path.name)):
        return f"unknown folder: expected {TRAINING}/fold_0/all or hem, not {path.parent}"
    if folder != label:
        return f"contradiction: folder says {folder}, name says {label}"
    return Entry(image, label, patient, path.parts[1] if path.parts[1] in FOLDS else "train", str(path.parent))


def _preliminary_labels(root: Path, file: str) -> tuple[dict[str, tuple[str, str] | str], list[Refusal]]:
    """Number of a file to (patient, class), or to the reason why nobody knows them; and the refused lines.

    A copy re-saved in another format keeps its number: row 12.bmp is the label of 12.png too.
    """
    rows, problems = read_rows(root / file, ("Patient_ID", "new_names", "labels"))
    labels: dict[str, tuple[str, str] | str] = {}
    for number, row in rows:
        parsed = parse_name(row["Patient_ID"])
        stem = PurePosixPath(row["new_names"]).stem
        if parsed is None:
            problems.append((number, f"unknown name {row['Patient_ID']!r}"))
        elif {"1": "ALL", "0": "HEM"}.get(row["labels"]) != parsed[1]:
            problems.append((number, f"contradiction: name says {parsed[1]}, label column says {row['labels']!r}"))
        elif labels.setdefault(stem, parsed) is not parsed:
            problems.append((number, f"image {stem} has a second row"))
            if labels[stem] != parsed:
                labels[stem] = f"contradiction: two rows of {PRELIMINARY_LABELS.name} name different cells"
    return labels, [(file, f"line {number}: {problem}") for number, problem in problems]


def _check_patients(entries: Iterable[Entry]) -> None:
    labels: dict[str, str] = {}
    for entry in entries:
        first = labels.setdefault(entry.patient, entry.label) if entry.patient else entry.label
        if first != entry.label:
            raise UserError(
                f"patient {entry.patient} has images of both {first} and {entry.label} (for example {entry.image}): "
                "in C-NMC a patient is either ill or healthy; remove or rename the wrong files"
            )
