"""Which layout a data set has, and its images: C-NMC, a table of labels, or a folder per class. Nothing is guessed.

A further layout is a module with `mark` and `listing`, and an entry in `LAYOUTS`.
"""

import re
from dataclasses import replace
from pathlib import Path

from job.contracts import names
from job.data import cnmc, labels
from job.data.tree import NOT_AN_IMAGE, SYNTHETIC_MARK, Entry, Listing, Tree, walk
from job.errors import UserError

LAYOUTS = {"c-nmc": cnmc, "csv": labels}
"""Layouts that a mark in the folder tells; without one, folders of images are classes."""

_PART = re.compile(
    r"train(ing)?(_data)?|val(id(ation)?)?(_data)?|test(ing)?(_data)?|fold[_-]?\d+|images?|data", re.IGNORECASE
)
_EXPECTED = (
    f"Expected {cnmc.TRAINING}/ (C-NMC 2019), {labels.NAME} with the columns file,patient,label, or a folder of images "
    "per class."
)


def read(root: Path, layout: str, positive_asked: str = "auto") -> Listing:
    """List the images of a data set whose layout is `c-nmc`, `csv`, `folders`, or recognised (`auto`).

    Raises:
        UserError: the folder is missing, its layout is none of them or more than one, classes are spelt alike, or
            nobody can tell which of two is the positive one.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"data.root: {root.absolute()} {problem}. {_EXPECTED} {cnmc.HOW_TO_GET}")
    tree = walk(root)
    layout, reason = _recognise(root, tree) if layout == "auto" else (layout, "data.layout says so")
    listing = LAYOUTS[layout].listing(root, tree) if layout in LAYOUTS else _folders(tree)
    classes = sorted({entry.label for entry in listing.entries} - {""})
    _check_classes(classes)
    if len(classes) == 2:
        positive(classes, positive_asked)  # asked for before minutes of reading pixels
    same, warnings = names.one_person(entry.patient for entry in listing.entries)
    return replace(
        listing,
        entries=[replace(entry, patient=same.get(entry.patient, entry.patient)) for entry in listing.entries],
        warnings=listing.warnings + warnings,
        layout=layout,
        reason=reason,
        rejected=tree.rejected + listing.rejected,
        ignored=len(tree.ignored),
    )


def positive(classes: list[str], asked: str) -> str | None:
    """The positive class as `data.positive` says, `auto` or a name; a UserError where nobody can tell."""
    return names.positive_class(classes, "" if asked == "auto" else asked, "data.positive=")


def _recognise(root: Path, tree: Tree) -> tuple[str, str]:
    """The layout of a folder, and why it is this one."""
    marks = {name: mark for name, layout in LAYOUTS.items() if (mark := layout.mark(tree))}
    if len(marks) > 1:
        choices = " or ".join(f"data.layout={name}" for name in marks)
        raise UserError(f"data.root: {root.absolute()} has both {' and '.join(marks.values())}: choose with {choices}")
    for name, mark in marks.items():
        return name, f"it has {mark}"
    classes = sorted({image.split("/")[0] for image in tree.images if "/" in image})
    if root.resolve().name == cnmc.TRAINING or any(_PART.fullmatch(name) for name in classes):
        raise UserError(
            f"data.root: {root.absolute()} holds the folders {', '.join(classes)}, which look like parts of a data "
            f"set, not like classes. {_EXPECTED} If they are classes, set data.layout=folders."
        )
    if len(classes) < 2:
        content = f"{len(tree.images)} images in {len(classes)} folders" if tree.images else "no images"
        raise UserError(f"data.root: {root.absolute()} holds {content}. {_EXPECTED}")
    return "folders", f"it has {len(classes)} folders of images and no {labels.NAME}"


def _folders(tree: Tree) -> Listing:
    """A folder of images per class at the top, folders within it as they like; nobody knows the patients."""
    rejected = [(file, NOT_AN_IMAGE) for file in tree.others if file != SYNTHETIC_MARK]
    rejected += [(image, "in no class folder") for image in tree.images if "/" not in image]
    return Listing([Entry(image, image.split("/")[0], "", "train") for image in tree.images if "/" in image], rejected)


def _check_classes(classes: list[str]) -> None:
    spellings: dict[tuple[str, ...], str] = {}
    for name in classes:
        if names.is_gap(name):
            raise UserError(f"class {name!r}: this text stands for a missing value: give the class another name")
        other = spellings.setdefault(names.spelling(name), name)
        if other != name:
            raise UserError(
                f"classes {other!r} and {name!r} differ only in case, spaces or the writing of a number: "
                "spell one class one way"
            )
