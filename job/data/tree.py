"""What lies under the root of a data set: files that may be images, others, and what is refused by its path alone."""

import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})
NOT_AN_IMAGE = "not an image by its extension"

_LITTER = re.compile(r"^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini)$", re.IGNORECASE)

Refusal = tuple[str, str]
"""A file (its path relative to the root) and the reason why it is refused."""


@dataclass(frozen=True)
class Tree:
    """All files of a root by their paths relative to it, sorted; `ignored` counts the litter of operating systems."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    rejected: list[Refusal] = field(default_factory=list)
    ignored: int = 0


@dataclass(frozen=True)
class Entry:
    """One image file: path relative to the root, class name or None, patient or None, part of the data set.

    `origin` is `train`, `preliminary` or `final` in C-NMC; `train`, `test` or `unlabelled` in other data.
    """

    image: str
    label: str | None
    patient: str | None
    origin: str


@dataclass(frozen=True)
class Listing:
    """What a data set's layout says of its files: images in the order of their paths, and refused files.

    `classes` is the order of the classes where the layout fixes it, `warnings` are sentences for the report.
    """

    layout: str
    reason: str
    entries: list[Entry]
    rejected: list[Refusal]
    classes: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


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
            path = os.path.join(folder, name)  # noqa: PTH118 - names need not be UTF-8
            relative = os.path.relpath(path, root)
            if _LITTER.match(name):
                ignored += 1
            elif reason := _refused(path, name, real):
                rejected.append((shown(relative), reason))
            elif os.path.isdir(path):  # noqa: PTH112
                kept.append(name)
            else:
                (images if os.path.splitext(name)[1].lower() in SUFFIXES else others).append(relative)  # noqa: PTH122
        folders[:] = kept
    return Tree(by_path(images), by_path(others), sorted(rejected), ignored)


def by_path(paths: list[str]) -> list[str]:
    """Paths sorted folder by folder, as `pathlib` sorts them."""
    return sorted(paths, key=lambda path: path.split("/"))


def shown(text: str) -> str:
    """A text that any file can hold: bytes that are no UTF-8, and control characters, as escapes."""
    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) == "Cc" else c for c in valid)


def _refused(path: str, name: str, root: str) -> str | None:
    """Why a file or folder is not read, by its name and kind."""
    if shown(name) != name:
        return "name with control characters or not in UTF-8: rename it"
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return _refused_link(path, root)
    # Opening a pipe would wait for ever.
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "not a regular file"


def _refused_link(path: str, root: str) -> str | None:
    try:
        target = os.path.realpath(path, strict=True)
    except OSError:
        return "symbolic link without a target"
    if os.path.commonpath([root, target]) != root:
        return "symbolic link out of the root"
    if os.path.isdir(target):  # noqa: PTH112 - the same module throughout
        return "symbolic link to a folder of the root, whose files are read where they lie"
    return None if os.path.isfile(target) else "not a regular file"  # noqa: PTH113
