"""What lies under the root of a data set, and how a layout describes it."""

import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})
NOT_AN_IMAGE = "not an image by its extension"
SYNTHETIC_MARK = "SYNTHETIC.txt"

_CACHED = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")  # where DVC's cache has a file of this digest
_LITTER = re.compile(r"^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini)$", re.IGNORECASE)

Refusal = tuple[str, str]
"""A file (its path relative to the root) and the reason why it is refused, for rejected.csv."""


@dataclass(frozen=True)
class Tree:
    """All files of a folder by their paths relative to it, sorted; `rejected` are refused by their paths alone."""

    images: list[str]
    others: list[str]
    rejected: list[Refusal]
    ignored: int


@dataclass(frozen=True)
class Entry:
    """One image file of a data set.

    It comes from the part `origin`: `fold_0`, `fold_1`, `fold_2`, `preliminary` or `final` in C-NMC; `train`, `test` or
    `unlabelled` in other data.
    """

    image: str  # path relative to the root
    label: str  # name of its class; empty where nobody knows it
    patient: str  # whose cell it is; empty where nobody knows
    origin: str
    folder: str = ""  # of the published data set, for layouts that name such folders


HELD_OUT = ("preliminary", "test")  # origins of the images that a data set itself sets aside for a test


@dataclass(frozen=True)
class Listing:
    """A data set as its layout describes it: the images in the order of their paths, and what was refused."""

    entries: list[Entry]
    rejected: list[Refusal]  # files that are no images of the data set
    classes: tuple[str, ...] = ()  # names in class order, where the layout fixes it
    positive: str = ""  # the class that counts as positive, where the layout fixes it
    name: str = ""  # of the data set, where the layout has one published data set
    published: dict[str, int] = field(default_factory=dict)  # images in each folder of the published data set
    warnings: list[str] = field(default_factory=list)  # sentences for the report
    layout: str = ""  # name of the layout
    reason: str = ""  # why it is this layout
    ignored: int = 0  # files that operating systems leave behind, such as Thumbs.db


def is_synthetic(root: Path) -> bool:
    """Whether cells under a root were drawn by a program: the mark lies in it, in a folder of it, or above it."""
    above = any((folder / SYNTHETIC_MARK).is_file() for folder in (root, *root.resolve().parents))
    return above or any(SYNTHETIC_MARK in names for _, _, names in os.walk(root))


def walk(root: Path) -> Tree:
    """List a folder. The root itself may be a symbolic link; what lies in it may not lead out of it."""
    images: list[str] = []
    others: list[str] = []
    rejected: list[Refusal] = []
    ignored = 0
    real = os.path.realpath(root)

    def unreadable(error: OSError) -> None:
        rejected.append((os.path.relpath(error.filename, root), f"unreadable folder: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        kept = []
        for name in [*folders, *names]:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if _LITTER.match(name):
                ignored += 1
            elif reason := _refused(path, real):
                rejected.append((shown(relative), reason))
            elif path.is_dir():
                kept.append(name)
            else:
                (images if path.suffix.lower() in SUFFIXES else others).append(relative)
        folders[:] = kept
    return Tree(by_path(images), by_path(others), sorted(rejected), ignored)


def by_path(paths: list[str]) -> list[str]:
    """Paths sorted folder by folder, as `pathlib` sorts them."""
    return sorted(paths, key=lambda path: path.split("/"))


def shown(text: str) -> str:
    """A text that any file can hold: bytes that are no UTF-8, and control characters, as escapes."""
    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) == "Cc" else c for c in valid)


def _refused(path: Path, root: str) -> str | None:
    """Why a file or folder is not read, by its name and kind."""
    if shown(path.name) != path.name:
        return "name with control characters or not in UTF-8: rename it"
    if path.is_symlink():
        try:
            target = Path(os.path.realpath(path, strict=True))
        except OSError:
            return "symbolic link without a target"
        if _CACHED.search(target.as_posix()) and target.is_file():
            return None
        if not target.is_relative_to(root):
            return "symbolic link out of the root"
        if target.is_dir():
            return "symbolic link to a folder of the root, whose files are read where they lie"
    # Opening a pipe would wait for ever.
    return None if path.is_file() or path.is_dir() else "not a regular file"
