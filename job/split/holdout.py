"""Choosing the test subjects: as many patients and images as the published report, the official part, or a share."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.data.subjects import natural
from job.data.tree import HELD_OUT
from job.errors import UserError
from job.params import Split
from job.seeds import generator

Counts = npt.NDArray[np.int64]

REPORT_TEST = {
    "ALL": {"patients": (11, 60), "images": (1836, 8491)},
    "HEM": {"patients": (4, 41), "images": (578, 4037)},
}
"""Table 1 of the report: patients and images held out, each out of the whole set's."""


def test_subjects(index: pd.DataFrame, settings: Split) -> tuple[set[str], dict[str, Any]]:
    """Subjects of the test set, and for each class the target (where there is one) and what was reached.

    A UserError says why the data has no such test set.
    """
    labelled = index[index["label"] != ""]
    targets: dict[str, dict[str, int]] = {}
    if settings.test == "official":
        chosen = _official(labelled)
    else:
        for label, subjects in labelled.groupby("label")["subject"].nunique().items():
            if subjects < 2:
                raise UserError(f"class {label} has one subject: it cannot be both in training and in the test set")
        if settings.test == "report":
            targets = _report_targets(labelled)
            chosen = _nearest_to(targets, labelled, settings.seed)
        else:
            chosen = _fraction(labelled, settings)
    return chosen, _reached(labelled, chosen, targets)


def _report_targets(labelled: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Patients and images of each class to hold out: the report's numbers for the full set, its shares of any other."""
    mixed = labelled.groupby("subject")["label"].nunique()
    unknown = sorted(set(labelled["label"]) - set(REPORT_TEST))
    if unknown or (mixed > 1).any():
        what = f"class {unknown[0]}" if unknown else f"subject {mixed.idxmax()}, who has cells of both classes"
        raise UserError(
            f"split.test=report is Table 1 of a report on C-NMC and does not know {what}: use split.test=fraction, or "
            "official where the data says who is held out"
        )
    targets = {}
    for label, group in labelled.groupby("label"):
        counts = {"patients": _people(group).nunique(), "images": len(group)}
        shares = REPORT_TEST[str(label)].items()
        targets[str(label)] = {name: max(1, round(counts[name] * part / whole)) for name, (part, whole) in shares}
    return targets


def _nearest_to(targets: dict[str, dict[str, int]], labelled: pd.DataFrame, seed: int) -> set[str]:
    """Subjects with as many patients and images of each class as the targets say, or the nearest there are."""
    chosen: set[str] = set()
    for label, group in labelled.groupby("label"):
        people = group.assign(person=_people(group)).groupby("subject")
        table = people.agg(patients=("person", "nunique"), images=("image", "size"))
        table = table.loc[sorted(table.index, key=natural)]
        chosen |= choose(table, **targets[str(label)], rng=generator(seed, "split", "test", str(label)))
    return chosen


def _people(images: pd.DataFrame) -> pd.Series:
    """The patient of every image; an image without one counts as a person."""
    return images["patient"].where(images["patient"] != "", images["image"])


def _fraction(labelled: pd.DataFrame, settings: Split) -> set[str]:
    """A share of each class's subjects, at least one and never all.

    A subject may have cells of several classes, so the classes are gone through from the one with fewest subjects, and
    each draws what it still lacks among subjects that nobody has decided on (iterative stratification: Sechidis,
    Tsoumakas & Vlahavas 2011, ECML PKDD, doi:10.1007/978-3-642-23808-6_10).
    """
    members = {str(label): set(group) for label, group in labelled.groupby("label")["subject"]}
    chosen: set[str] = set()
    decided: set[str] = set()
    for label in sorted(members, key=lambda name: (len(members[name]), name)):
        subjects = members[label]
        count = min(max(1, round(settings.test_share * len(subjects))), len(subjects) - 1)
        order = generator(settings.seed, "split", "test", label).permutation(sorted(subjects - decided, key=natural))
        chosen |= set(order[: max(0, count - len(chosen & subjects))])
        decided |= subjects
    return chosen


def choose(subjects: pd.DataFrame, patients: int, images: int, rng: np.random.Generator) -> set[str]:
    """Draw, uniformly among all such sets, subjects with that many patients and images, or the nearest there are.

    `subjects` has one row per subject with the columns `patients` and `images`; its index holds the names.

    All sets are counted by dynamic programming (the counting form of the subset-sum problem) and one is drawn by
    walking back through the counts, so every exact solution is equally likely. Nearest means: the number of patients
    first, then the number of images. What can be reached is found first, so that only counts up to there are kept.
    """
    people = np.asarray(subjects["patients"])
    sizes = np.asarray(subjects["images"])
    p, m = _nearest(people, sizes, patients, images)
    # ways[i][p, m]: number of sets among the first i subjects with p patients and m images.
    ways = [np.zeros((p + 1, m + 1))]
    ways[0][0, 0] = 1
    for more_people, more_images in zip(people, sizes, strict=True):
        after = ways[-1].copy()
        if more_people <= p and more_images <= m:
            after[more_people:, more_images:] += ways[-1][: p + 1 - more_people, : m + 1 - more_images]
        ways.append(after)
    if not np.isfinite(ways[-1][p, m]):
        raise UserError(f"split.test=report: {len(subjects)} subjects are too many to count; use split.test=fraction")
    chosen: set[str] = set()
    for i in range(len(subjects), 0, -1):
        without, both = ways[i - 1][p, m], ways[i][p, m]
        if rng.random() * both >= without:
            chosen.add(str(subjects.index[i - 1]))
            p, m = p - people[i - 1], m - sizes[i - 1]
    return chosen


def _nearest(people: Counts, sizes: Counts, patients: int, images: int) -> tuple[int, int]:
    """The sums of patients and images that some set of subjects has and that are nearest to those asked for.

    Adding one subject moves the patients by at most the largest subject, so the nearest number lies within the table.
    """
    possible = np.zeros(
        (min(int(people.sum()), patients + int(people.max())) + 1, int(sizes.sum()) + 1), dtype=np.bool_
    )
    possible[0, 0] = True
    for p, m in zip(people, sizes, strict=True):
        if p < len(possible):
            possible[p:, m:] |= possible[: len(possible) - p, : possible.shape[1] - m].copy()
    # The empty set and the whole class are no test sets: both sides need somebody.
    possible[0, :] = False
    possible[:, -1] = False
    counts, sums = np.nonzero(possible)
    best = np.lexsort((sums, counts, np.abs(sums - images), np.abs(counts - patients)))[0]
    return int(counts[best]), int(sums[best])


def _official(labelled: pd.DataFrame) -> set[str]:
    test = set(labelled.loc[labelled["origin"].isin(HELD_OUT), "subject"])
    train = set(labelled.loc[labelled["origin"] == "train", "subject"])
    if not test:
        raise UserError(
            "split.test=official needs images that the data set itself holds out (the labelled preliminary part of "
            "C-NMC, rows of labels.csv with split=test): add them, or use split.test=report or fraction"
        )
    if both := sorted(test & train, key=natural):
        raise UserError(
            f"split.test=official would put subject {both[0]} on both sides (it has, or shares, images in both parts): "
            "use split.test=report or fraction"
        )
    return test


def _reached(labelled: pd.DataFrame, chosen: set[str], targets: dict[str, dict[str, int]]) -> dict[str, Any]:
    result = {}
    for label, group in labelled.groupby("label"):
        test = group[group["subject"].isin(chosen)]
        patients = test.loc[test["patient"] != "", "patient"].nunique()
        reached = {"patients": int(patients), "images": len(test)}
        result[str(label)] = {"wanted": targets.get(str(label)), "reached": reached, "of": len(group)}
    return result
