"""Which layout a data set has, and its images: C-NMC, a table of labels, or a folder per class. Nothing is guessed."""

import re
from pathlib import Path

from job.data import cnmc, labels
from job.data.tree import NOT_AN_IMAGE, Entry, Listing, Tree, walk
from job.errors import UserError

_PART = re.compile(
    r"train(ing)?(_data)?|val(id(ation)?)?(_data)?|test(ing)?(_data)?|fold[_-]?\d+|images?|data", re.IGNORECASE
)
_EXPECTED = (
    f"Expected {cnmc.TRAINING}/ (C-NMC 2019), {labels.NAME} with the columns file,patient,label, or a folder of images "
    "per class."
)


def read(root: Path, layout: str) -> tuple[Listing, Tree]:
    """List the images of a data set, and the tree they were found in.

    Args:
        root: the data set's folder.
        layout: `c-nmc`, `csv`, `folders`, or `auto` to recognise it.

    Raises:
        UserError: the folder is missing, or its layout is none of them, or more than one.
    """
    if not root.is_dir():
        raise UserError(f"data.root: folder {root.absolute()} does not exist. {_EXPECTED} {cnmc.HOW_TO_GET}")
    tree = walk(root)
    reason = "data.layout says so"
    if layout == "auto":
        layout, reason = _recognise(root, tree)
    found = {"c-nmc": cnmc.listing, "csv": labels.listing, "folders": _folders}[layout](root, tree, reason)
    _check_classes({entry.label for entry in found.entries if entry.label is not None})
    return found, tree


def _recognise(root: Path, tree: Tree) -> tuple[str, str]:
    table = labels.find(tree)
    if cnmc.recognises(tree) and table:
        raise UserError(
            f"data.root: {root.absolute()} has both {cnmc.TRAINING}/ and {table}: say which counts with "
            "data.layout=c-nmc or data.layout=csv"
        )
    if cnmc.recognises(tree):
        return "c-nmc", f"it has the folder {cnmc.TRAINING}/ of C-NMC 2019"
    if table:
        return "csv", f"it has the table {table}"
    classes = _class_folders(tree)
    if root.resolve().name == cnmc.TRAINING or any(_PART.fullmatch(name) for name in classes):
        raise UserError(
            f"data.root: {root.absolute()} holds the folders {', '.join(classes)}, which look like parts of a data "
            f"set, not like classes. {_EXPECTED} If they are classes, set data.layout=folders."
        )
    if len(classes) < 2:
        found = f"{len(tree.images)} images in {len(classes)} folders" if tree.images else "no images"
        raise UserError(f"data.root: {root.absolute()} holds {found}. {_EXPECTED}")
    return "folders", f"it has {len(classes)} folders of images and no {labels.NAME}"


def _class_folders(tree: Tree) -> list[str]:
    return sorted({image.split("/")[0] for image in tree.images if "/" in image})


def _folders(root: Path, tree: Tree, reason: str) -> Listing:  # noqa: ARG001 - layouts are called alike
    """A folder of images per class at the top, folders within it as they like; nobody knows the patients."""
    rejected = [(file, NOT_AN_IMAGE) for file in tree.others if file != cnmc.SYNTHETIC_MARK]
    rejected += [(image, "in no class folder") for image in tree.images if "/" not in image]
    entries = [Entry(image, image.split("/")[0], None, "train") for image in tree.images if "/" in image]
    return Listing("folders", reason, entries, rejected)


def _check_classes(classes: set[str]) -> None:
    by_fold: dict[str, str] = {}
    for name in sorted(classes):
        other = by_fold.setdefault(name.casefold().strip(), name)
        if other != name:
            raise UserError(f"classes {other!r} and {name!r} differ only in case or spaces: spell one class one way")
