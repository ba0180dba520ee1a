"""Which layout a data set has, and its images: C-NMC, a table of labels, or a folder per class. Nothing is guessed.

A further layout is a module with `mark` and `listing`, and an entry in `LAYOUTS`.
"""

import re
from dataclasses import replace
from pathlib import Path

from job.contracts import names, paths
from job.data import cnmc, labels
from job.data.tree import NOT_AN_IMAGE, Entry, Listing, Tree, walk
from job.errors import UserError

LAYOUTS = {"c-nmc": cnmc, "csv": labels}
"""Layouts that a mark in the folder tells; without one, folders of images are classes."""

_PART = re.compile(
    r"[xy]?(train(ing)?|te?st(ing)?|val(id(ation)?)?|dev|eval(uation)?|hold(out)?|out|fold|cv|unseen|external|internal|parts?|splits?|sub|sets?|phase|batch"
    r"|data|images?|imgs?|im|pics?|pictures?|photos?|frames?|masks?|labels?|annotations?|unlabell?ed|segment(ed|ation)"
    r"|cohorts?|sites?|cent(er|re)|hospital|slides?|series|folder|dir|original|copy|old|new|backup|archive|te?mp|patients?|subjects?"
    r"|aug(ment(ed|ation))?|flip(ped)?|rotat(ed|ion)|mirror(ed)?|normali[sz]ed|raw|processed|cropped|resized|thumb(nail)?s?|gt"
    r"|predict(ions?|ed)|results?|(grad)?cam|heatmaps?|overlays?|figures?|plots?|synthetic|generated|reject(ed)?|excluded|discarded"
    r"|unsorted|unused|misc|extra|duplicates?|crops?|tiles?|patch(es)?|screenshots?|exports?|downloads?|ordner|(qu)?path|(cell)?profiler"
    r"|bmp|png|jpe?g|tiff?|tr|ts)(sets?|data|images?|tr|ts)?s?",
    re.IGNORECASE,
)
"""Words in names of folders that are parts of a data set, or its patients, and not classes."""

_ALL_IDB = re.compile(r"im\d+_[01]\.(tif|jpg)", re.IGNORECASE)
_EXPECTED = (
    f"Expected {cnmc.TRAINING}/ (C-NMC 2019), {labels.NAME} (file,patient,label), or a folder of images per class."
)
_COPY = re.compile(r"((?:[^\w/]|_)+([hv]?flip|rot|aug|mirror|copy)[a-z]*(?:[^\w/]|_)*\d*)*\.\w+$", re.IGNORECASE)
"""What a name has at its end beyond that of the picture that it is a copy of, changed or in another format."""


def read(root: Path, layout: str, positive_asked: str = "auto") -> Listing:
    """List the images of a data set whose layout is `c-nmc`, `csv`, `folders`, or recognised (`auto`).

    A UserError says that the folder is missing, that its layout is none of them or more than one, that classes are
    spelt alike, or that nobody can tell which of two is the positive one.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        where = "" if root.is_absolute() else " (a relative path is looked for in the folder that DVC runs in)"
        remedy = f"{_EXPECTED} {cnmc.HOW_TO_GET} {paths.DEMO} stands for the synthetic cells."
        raise UserError(f"data.root: {root.absolute()} {problem}{where}. {remedy}")
    tree = walk(root)
    _check_refused(root, tree)
    layout, reason = _recognise(root, tree) if layout == "auto" else (layout, "data.layout says so")
    listing = LAYOUTS[layout].listing(root, tree) if layout in LAYOUTS else _folders(tree)
    classes = sorted({entry.label for entry in listing.entries} - {""})
    _check_classes(classes)
    if len(classes) == 2:
        positive(classes, positive_asked)  # asked for before minutes of reading pixels
    same, warnings = names.one_person(entry.patient for entry in listing.entries)
    first: dict[str, str] = {}
    nobody = [entry.image for entry in listing.entries if entry.label and not entry.patient]
    if copies := [image for image in nobody if first.setdefault(_COPY.sub("", image), image) != image]:
        what = f"{len(copies):,} images are called like copies, changed or saved again, such as {copies[0]}"
        warnings.append(
            f"{what}: one cell may stand in training and test. Take them out, or name patients in labels.csv."
        )
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
    if named := [image for image in tree.images if cnmc.parse_name(image)]:
        raise UserError(
            f"data.root: {root.absolute()} holds images that are called as in C-NMC 2019, such as {named[0]}, but "
            f"not the folder {cnmc.TRAINING}/ that they come in. {cnmc.HOW_TO_GET} Where they are other images, set "
            "data.layout=folders, or name their patients in labels.csv."
        )
    classes = sorted({image.split("/")[0] for image in tree.images if "/" in image})
    if doubt := _doubt(tree, classes) if len(classes) > 1 else "":
        raise UserError(
            f"data.root: {root.absolute()} holds the folders {', '.join(classes)}, {doubt}. {_EXPECTED} Name the one "
            "folder that holds the classes; or, if these are the classes, set data.layout=folders."
        )
    if len(classes) < 2:
        content = f"{len(tree.images)} images in {len(classes)} folders" if tree.images else "no images"
        if tree.others and not tree.images:
            content += f", and {len(tree.others)} other files, such as {tree.others[0]}: unpack or convert them"
        if len(classes) == 1 and all(image.count("/") > 1 for image in tree.images):
            content += f": name the folder {classes[0]} if it holds the classes"
        if any(_ALL_IDB.fullmatch(image.rsplit("/", 1)[-1]) for image in tree.images):
            content += ", called as in ALL-IDB: Im001_1 is ALL and Im001_0 healthy, which labels.csv can say"
        raise UserError(f"data.root: {root.absolute()} holds {content}. {_EXPECTED}")
    return "folders", f"it has {len(classes)} folders of images and no {labels.NAME}"


def _check_refused(root: Path, tree: Tree) -> None:
    """Say what keeps images from being read, before anything is made of those that are left."""
    folders = [f"{name} ({reason})" for name, reason in tree.rejected if "/" not in name and (root / name).is_dir()]
    if folders or (tree.rejected and not tree.images):
        example, reason = tree.rejected[0]
        what = ", ".join(folders) or f"{len(tree.rejected)} files, such as {example} ({reason})"
        raise UserError(
            f"data.root: {root.absolute()}: what holds the images cannot be read: {what}. Put the folders and files "
            "themselves there, or name the folder that they lie in."
        )


def _doubt(tree: Tree, folders: list[str]) -> str:
    """Why folders may be no classes: they are called like parts, by number, or hold the same folders; or nothing."""
    if any(_PART.fullmatch(word) for name in folders for word in re.findall("[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)):
        return "which look like parts of a data set, not like classes"
    for name in folders:
        if base := next((one for one in folders if re.fullmatch(rf"{re.escape(one)}[\W_].+", name, re.IGNORECASE)), ""):
            return f"of which {name} may be more of {base}, changed or marked"
    letters = [re.sub(r"[\W\d_]+", "", name).casefold() for name in folders]
    if len(set(letters)) < len(letters):
        return "of which some differ in a number alone, as parts or patients do"
    names = [name for _, name in {tuple(one.casefold().split("/")[:2]) for one in tree.images if one.count("/") > 1}]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return f"of which several hold a folder {twice[0]}, so that either may be the class"
    return ""


def _folders(tree: Tree) -> Listing:
    """A folder of images per class at the top, folders within it as they like; nobody knows the patients."""
    rejected = [(file, NOT_AN_IMAGE) for file in tree.others]
    rejected += [(image, "in no class folder") for image in tree.images if "/" not in image]
    entries = [Entry(image, image.split("/")[0], "", "train") for image in tree.images if "/" in image]
    deeper = next((entry.image for entry in entries if entry.image.count("/") > 1), None)
    warnings = [f"Folders within the classes are not used, such as that of {deeper}."] if deeper else []
    tables = [name for name in tree.ignored if name.lower().endswith((".csv", ".tsv", ".xls", ".xlsx", ".ods"))]
    warnings += [f"Tables are not read, such as {tables[0]}: only {labels.NAME} is."] if tables else []
    return Listing(entries, rejected, warnings=warnings)


def _check_classes(classes: list[str]) -> None:
    spellings: dict[tuple[str, ...], str] = {}
    for name in classes:
        if names.is_gap(name):
            raise UserError(f"class {name!r}: this text stands for a missing value: give the class another name")
        if (other := spellings.setdefault(names.spelling(name), name)) != name:
            raise UserError(
                f"classes {other!r} and {name!r} differ only in case, spaces or the writing of a number: "
                "spell one class one way"
            )
