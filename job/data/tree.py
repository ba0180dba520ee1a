"""What lies under the root of a data set, and how a layout describes it."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path
from typing import Any

from job.errors import UserError

SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})
NOT_AN_IMAGE = "not an image by its extension"
NOT_REGULAR = "not a regular file"
SYNTHETIC_MARK = "SYNTHETIC.txt"

_LITTER = re.compile(
    r"\..+"  # hidden: .DS_Store, ._name, .git, .ipynb_checkpoints, .Trash-1000, .~lock.labels.csv#
    r"|.*~|~\$.*|#.*#|.*\.(bak|orig|tmp|swp|swo|lnk|dvc|pyc)|__pycache__"  # editors, offices, programs
    r"|(eh)?thumbs(_vista)?\.db|desktop\.ini|\$RECYCLE\.BIN|RECYCLER|System Volume Information|found\.\d{3}"
    r"|.*[:\uf03a](Zone\.Identifier|SmartScreen|encryptable|com\.dropbox\..*|AFP_.*)(:\$DATA)?"  # Windows' streams
    r"|__MACOSX|Icon\r|Network Trash Folder|Temporary Items|lost\+found"
    r"|@eaDir|@tmp|@Recycle|@Recently-Snapshot|#recycle|#snapshot",  # network disks
    re.IGNORECASE,
)
"""Names of what systems, editors and programs leave beside people's files; every reader ignores and counts it."""
_DOCUMENT = re.compile(
    r"(?!(.*phase_data_)?labels\.csv$|SYNTHETIC)(.+\.(txt|md|rst|rtf|tex|bib|pdf|docx?|odt|pages|pptx?|odp|key|csv|tsv|xls[xm]?|ods|numbers"
    r"|json(l|ld)?|geojson|ya?ml|toml|xml|ini|cfg|conf|log|html?|url|webloc|db|sqlite\d?|md5|sha\d+|sig|py|ipynb|r|rmd|rds|sh|bat|ps1"
    r"|qp(data|proj)|roi|cp(pipe|proj))|read ?me|licen[cs]e|(md5|sha\d+)sums?)",
    re.IGNORECASE,
)
"""Names of documents. Whatever else is no image, such as an array or another format of image, may be forgotten data."""
_CACHED = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")  # where DVC's cache has a file of this digest

Refusal = tuple[str, str]
"""A file (its path relative to the root) and the reason why it is refused, for rejected.csv."""


@dataclass(frozen=True)
class Tree:
    """All files of a folder by their paths relative to it, sorted; `rejected` are refused by their paths alone.

    `ignored` is litter and documents; of a folder of litter it names the folder alone.
    """

    images: list[str]
    others: list[str]
    rejected: list[Refusal]
    ignored: list[str]


@dataclass(frozen=True)
class Entry:
    """One image file of a data set.

    It comes from the part `origin`: `fold_0`, `fold_1`, `fold_2`, `preliminary` or `final` in C-NMC (`train` where its
    folds are not told apart), `train`, `test` or `unlabelled` in other data.
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
    name: str = ""  # of the data set, where the layout has one published data set
    published: dict[str, int] = field(default_factory=dict)  # images in each folder of the published data set
    warnings: list[str] = field(default_factory=list)  # sentences for the report
    layout: str = ""  # name of the layout
    reason: str = ""  # why it is this layout
    ignored: int = 0  # files and folders that are no images by their names, such as Thumbs.db and notes.txt


def check_own_test(images: int, test: str) -> None:
    """Refuse a `split.test` that trains on images that the table calls test ones."""
    if images and test != "official":
        raise UserError(
            f"the column split of labels.csv calls {images:,} images test ones, and split.test={test} draws others: "
            "set split.test=official to test on them, or empty the column"
        )


def is_synthetic(root: Path) -> bool:
    """Whether cells under a root were drawn by a program: the mark lies in it, in a folder of it, or above it."""
    above = any((folder / SYNTHETIC_MARK).is_file() for folder in (root, *root.resolve().parents))
    return above or any(SYNTHETIC_MARK in names for _, _, names in os.walk(root))


def walk(root: Path, *, any_name: bool = False) -> Tree:
    """List a folder. The root itself may be a symbolic link; what lies in it may not lead out of it.

    Names that no table can hold are refused, unless `any_name` says that the reader writes them with escapes.
    """
    images: list[str] = []
    others: list[str] = []
    rejected: list[Refusal] = []
    ignored: list[str] = []
    real = os.path.realpath(root)

    def unreadable(error: OSError) -> None:
        rejected.append((os.path.relpath(error.filename, root), f"unreadable folder: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        kept = []
        for name in [*folders, *names]:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if name == ".dvcignore" and re.search(r"^(?!#).*\S", path.read_text(errors="replace"), re.MULTILINE):
                rejected.append((relative, "DVC would not see changes of the files that it names: remove it"))
            elif _LITTER.fullmatch(name) or (_DOCUMENT.fullmatch(name) and not path.is_dir()):
                ignored.append(shown(relative))
            elif reason := _refused(path, real, any_name=any_name):
                rejected.append((shown(relative), reason))
            elif path.is_dir():
                kept.append(name)
            elif name != SYNTHETIC_MARK:
                (images if path.suffix.lower() in SUFFIXES else others).append(relative)
        folders[:] = kept
    by_folder = methodcaller("split", "/")  # as `pathlib` sorts paths
    return Tree(sorted(images, key=by_folder), sorted(others, key=by_folder), sorted(rejected), sorted(ignored))


def gather(paths: list[Path]) -> tuple[list[Path], list[Refusal]]:
    """Image files that are named, or that lie in named folders at any depth, each once; and what was left out, and why.

    In folders the rules are those of `walk`; a file that somebody names is taken whatever its extension and its links.
    A UserError says that a path does not exist.
    """
    files: list[Path] = []
    left_out: list[Refusal] = []
    for path in paths:
        if path.is_dir():
            tree = walk(path, any_name=True)
            files += [path / image for image in tree.images]
            refused = tree.rejected + [(name, NOT_AN_IMAGE) for name in tree.others + tree.ignored]
            left_out += [(shown((path / name).as_posix()), reason) for name, reason in refused]
        elif path.is_file():
            files.append(path)
        elif path.exists():
            left_out.append((shown(path.as_posix()), NOT_REGULAR))
        else:
            raise UserError(f"{path} does not exist")
    first: dict[Path, Path] = {}
    for file in files:
        # The folder's links are followed and the file's are not: DVC links equal files to one.
        if (same := first.setdefault(file.parent.resolve() / file.name, file)) is not file:
            left_out.append((shown(file.as_posix()), f"named twice: the same file as {shown(same.as_posix())}"))
    return list(first.values()), list(dict.fromkeys(left_out))


def kind(reason: str) -> str:
    """What reasons have in common: `line 7: contradiction: name says HEM` is of the kind `contradiction`."""
    short = re.sub("^line [^:]*:", "", reason).split(":")[0].strip()
    return re.sub(r"'[^']*'|\S+\.(bmp|png|jpe?g|tiff?)\b|(?<=image )\d+", "…", short, flags=re.IGNORECASE)


def reasons(refused: list[Refusal]) -> list[dict[str, Any]]:
    """Refused files by kind of reason, most frequent first."""
    kinds = Counter(kind(reason) for _, reason in refused)
    return [{"reason": name, "files": count} for name, count in sorted(kinds.items(), key=lambda k: (-k[1], k[0]))]


def shown(text: str) -> str:
    """A text that any file can hold: bytes that are no UTF-8, and control characters, as escapes."""
    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) == "Cc" else c for c in valid)


def _refused(path: Path, root: str, *, any_name: bool) -> str | None:
    """Why a file or folder is not read, by its name and kind."""
    if not any_name and shown(path.name) != path.name:
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
    return None if path.is_file() or path.is_dir() else NOT_REGULAR
