"""Synthetic patients and their cells, written in the folder layout of the public C-NMC 2019 data set.

Who the patients are follows the public set and the list of its files (Gupta & Gupta 2019,
doi:10.7937/tcia.2019.dc64i46r). Each patient is in one training fold. What the cells look like is in `job.demo.cells`.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import NormalDist

import pandas as pd
from PIL import Image

from job.data.cnmc import FINAL, PRELIMINARY, PRELIMINARY_LABELS
from job.data.tree import SYNTHETIC_MARK
from job.demo import cells
from job.errors import UserError
from job.seeds import generator

MARKER_TEXT = (
    "These are synthetic cells drawn by a program: no patient, no microscope and no real image is behind them.\n"
    "Numbers computed from them say whether software works and nothing about leukaemia.\n"
)

# C-NMC 2019: class, part, patients, images
_PUBLIC = (
    ("all", "train", 47, 7272),
    ("hem", "train", 26, 3389),
    ("all", "preliminary", 13, 1219),
    ("hem", "preliminary", 15, 648),
)
_SPREAD = 0.9  # standard deviation of the logarithm of a patient's number of images; 0.7 to 1.2 in the public set
_CELLS_PER_FIELD = 3  # cells cut from one microscope image; the median of the public set
_LOWER_CASE = "H3"  # the public set writes this one as h3
_LINKED = {"all": (2, 3), "hem": (2,)}  # sizes of the groups of training patients that share images
_COPIES = 2  # images that a linked patient shares, at most


@dataclass(frozen=True)
class Patient:
    """A synthetic patient."""

    name: str  # identifier in file names, such as `12` or `H7`; `F3` in the final part, where it is never written
    label: str  # `all` or `hem`
    part: str  # `train`, `preliminary` or `final`
    images: int  # number of image files, copies included
    leader: str = ""  # patient whose first images this one shares; empty for almost everybody


def cohort(*, seed: int, patients: int, images: int, unlabelled: int) -> list[Patient]:
    """The labelled patients in the proportions of the public set, then the unlabelled ones; counts are met exactly."""
    if images < patients:
        raise UserError(
            f"demo.images is {images}, but each of the {patients} patients of demo.patients needs at least one: "
            "raise demo.images or lower demo.patients"
        )
    people = _apportion(patients, [row[2] for row in _PUBLIC], at_least=1)
    # Every patient has an image; the others make up what the group lacks of its share.
    public_images = [row[3] for row in _PUBLIC]
    shares = [images * number / sum(public_images) for number in public_images]
    others = _apportion(images - patients, [max(share - count, 0) for share, count in zip(shares, people, strict=True)])
    result: list[Patient] = []
    for (label, part, *_), count, more in zip(_PUBLIC, people, others, strict=True):
        first = 1 + sum(patient.label == label for patient in result)
        numbers = _images_per_patient(seed, label, part, count, count + more)
        prefix = "H" if label == "hem" else ""
        members = [Patient(f"{prefix}{first + i}", label, part, number) for i, number in enumerate(numbers)]
        result += _linked(seed, label, members) if part == "train" else members
    if unlabelled:
        count = max(1, round(unlabelled * patients / images))
        numbers = _images_per_patient(seed, "any", "final", count, unlabelled)
        labels = ("all", "all", "hem")
        result += [Patient(f"F{i + 1}", labels[i % 3], "final", number) for i, number in enumerate(numbers)]
    return result


def write(root: Path, *, seed: int, patients: int, images: int, unlabelled: int, drawn: Callable[[], object]) -> None:
    """Write the data set into the empty folder `root`; `drawn` is called after each image."""
    people = cohort(seed=seed, patients=patients, images=images, unlabelled=unlabelled)
    (root / SYNTHETIC_MARK).write_text(MARKER_TEXT, encoding="utf-8", newline="\n")
    paths = _paths(seed, people)
    for folder in sorted({path.parent for path in paths.values()}):
        (root / folder).mkdir(parents=True)
    named = {patient.name: patient for patient in people}
    copies: dict[Path, Path] = {}
    tasks: list[tuple[int, Patient, int, Path]] = []
    for (patient, number), path in paths.items():
        leader = named.get(patient.leader)
        if leader and number < min(_COPIES, leader.images):
            copies[root / path] = root / paths[leader, number]
        else:
            tasks.append((seed, patient, number, root / path))
    # Every cell has a generator of its own, so the number of processes changes no pixel. Started afresh, not forked:
    # whoever calls may have threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_save, tasks, chunksize=8):
            drawn()
    for path, original in copies.items():
        shutil.copyfile(original, path)
        drawn()
    # The label file of the preliminary part, in the order of the new numbers.
    rows = sorted(
        (int(path.stem), _original_name(patient, number), path.name, int(patient.label == "all"))
        for (patient, number), path in paths.items()
        if patient.part == "preliminary"
    )
    table = pd.DataFrame([row[1:] for row in rows], columns=["Patient_ID", "new_names", "labels"])
    table.to_csv(root / PRELIMINARY_LABELS, index=False, lineterminator="\n")


def _apportion(total: int, weights: Sequence[float], at_least: int = 0) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to `weights` (largest remainders), none below `at_least`."""
    spare = total - at_least * len(weights)
    exact = [spare * weight / sum(weights) for weight in weights] if spare else [0.0] * len(weights)
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: spare - sum(counts)]:
        counts[i] += 1
    return [at_least + count for count in counts]


def _images_per_patient(seed: int, label: str, part: str, patients: int, images: int) -> list[int]:
    """Log-normal quantiles in random order: uneven for every seed, but no patient has half of them."""
    quantiles = [NormalDist().inv_cdf((i + 0.5) / patients) for i in range(patients)]
    order = generator(seed, "demo", "images per patient", label, part).permutation(patients)
    return _apportion(images, [math.exp(_SPREAD * quantiles[i]) for i in order], at_least=1)


def _linked(seed: int, label: str, members: list[Patient]) -> list[Patient]:
    """Link groups of patients, each to the first of its group. The third with most images stays out of it.

    That keeps a linked group small enough for either side of a split.
    """
    by_images = sorted(members, key=lambda patient: (-patient.images, patient.name))
    few = by_images[min(len(members) // 3, len(members) - sum(_LINKED[label])) :]
    chosen = generator(seed, "demo", "linked", label).permutation(len(few))[: sum(_LINKED[label])]
    leaders: dict[str, str] = {}
    for size in _LINKED[label]:
        group, chosen = [few[i].name for i in chosen[:size]], chosen[size:]
        leaders |= dict.fromkeys(group[1:], group[0])
    return [replace(patient, leader=leaders.get(patient.name, "")) for patient in members]


def _paths(seed: int, people: list[Patient]) -> dict[tuple[Patient, int], Path]:
    """Where image number i of a patient is written, relative to the root, by (patient, i)."""
    paths: dict[tuple[Patient, int], Path] = {}
    for label in ("all", "hem"):
        filled = [0, 0, 0]
        members = [patient for patient in people if patient.part == "train" and patient.label == label]
        for patient in sorted(members, key=lambda patient: (-patient.images, patient.name)):
            fold = filled.index(min(filled))
            filled[fold] += patient.images
            folder = Path("training_data") / f"fold_{fold}" / label
            paths |= {(patient, i): folder / _original_name(patient, i) for i in range(patient.images)}
    for part, folder in (("preliminary", Path(PRELIMINARY)), ("final", Path(FINAL))):
        keys = [(patient, i) for patient in people if patient.part == part for i in range(patient.images)]
        new_numbers = generator(seed, "demo", "new numbers", part).permutation(len(keys)) + 1
        paths |= {key: folder / f"{number}.png" for key, number in zip(keys, new_numbers, strict=True)}
    return paths


def _original_name(patient: Patient, number: int) -> str:
    name = patient.name.lower() if patient.name == _LOWER_CASE else patient.name
    field, cell = divmod(number, _CELLS_PER_FIELD)
    return f"UID_{name}_{field + 1}_{cell + 1}_{patient.label}.png"


def _save(task: tuple[int, Patient, int, Path]) -> None:
    seed, patient, number, path = task
    person = generator(seed, "demo", "patient", patient.name)
    rng = generator(seed, "demo", "cell", patient.name, number)
    pixels = cells.draw(cells.sample(patient.label, person, rng), rng)
    Image.fromarray(pixels).save(path, compress_level=1)
