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

_MOST_COUNTS = 10**8  # of sets of subjects, 0.8 GB; far more would also be larger than a float


def test_set(index: pd.DataFrame, settings: Split) -> tuple[set[str], pd.Series, dict[str, Any]]:
    """The subjects of the test set; for each row of the index whether it is left out; and what was reached.

    What is left out is neither trained on nor tested. What was reached stands beside the target of each class, where
    there is one. A UserError says that the data has no such test set.
    """
    labelled = index[index["label"] != ""]
    targets: dict[str, dict[str, int]] = {}
    left_out = pd.Series(data=False, index=index.index)
    if settings.test in ("report", "fraction"):
        for label, subjects in labelled.groupby("label")["subject"].nunique().items():
            if subjects < 2:
                raise UserError(f"class {label} has one subject: it cannot be both in training and in the test set")
    if settings.test == "report":
        chosen, targets = _report(labelled, settings)
    elif settings.test == "fraction":
        chosen = _fraction(labelled, settings)
    else:
        chosen, left_out = _parts(index, settings)
    reached = {}
    for label, group in labelled[~left_out[labelled.index]].groupby("label"):
        test = group[group["subject"].isin(chosen)]
        counts = {"patients": test.loc[test["patient"] != "", "patient"].nunique(), "images": len(test)}
        reached[str(label)] = {"wanted": targets.get(str(label)), "reached": counts, "of": len(group)}
    return chosen, left_out, reached


def _report(labelled: pd.DataFrame, settings: Split) -> tuple[set[str], dict[str, dict[str, int]]]:
    """Subjects with as many patients and images of each class as the targets say, or the nearest there are.

    The targets are the report's numbers for the full set, its shares of any other.
    """
    mixed = labelled.groupby("subject")["label"].nunique()
    unknown = sorted(set(labelled["label"]) - set(REPORT_TEST))
    if unknown or (mixed > 1).any():
        what = f"class {unknown[0]}" if unknown else f"subject {mixed.idxmax()}, who has cells of both classes"
        raise UserError(
            f"split.test=report is Table 1 of a report on C-NMC and does not know {what}: use split.test=fraction, or "
            "official where the data says who is held out"
        )
    chosen: set[str] = set()
    targets: dict[str, dict[str, int]] = {}
    # An image without a patient counts as a person.
    person = labelled["patient"].where(labelled["patient"] != "", labelled["image"])
    for label, group in labelled.assign(person=person).groupby("label"):
        counts = {"patients": group["person"].nunique(), "images": len(group)}
        shares = REPORT_TEST[str(label)].items()
        target = {name: max(1, round(counts[name] * part / whole)) for name, (part, whole) in shares}
        table = group.groupby("subject").agg(patients=("person", "nunique"), images=("image", "size"))
        table = table.loc[sorted(table.index, key=natural)]
        rng = generator(settings.seed, "split", "test", str(label))
        chosen |= choose(table, **target, rng=rng, draws=settings.draws)
        targets[str(label)] = target
    return chosen, targets


def _fraction(labelled: pd.DataFrame, settings: Split) -> set[str]:
    """A share of each class's subjects, at least one and never all.

    A subject may have cells of several classes, so the classes are gone through from the one with fewest subjects, and
    each draws what it still lacks among subjects that nobody has decided on (iterative stratification: Sechidis,
    Tsoumakas & Vlahavas 2011, ECML PKDD, doi:10.1007/978-3-642-23808-6_10).
    """
    members = {str(label): set(group) for label, group in labelled.groupby("label")["subject"]}
    chosen, decided = set[str](), set[str]()
    for label in sorted(members, key=lambda name: (len(members[name]), name)):
        subjects = members[label]
        count = min(max(1, round(settings.test_share * len(subjects))), len(subjects) - 1)
        order = generator(settings.seed, "split", "test", label).permutation(sorted(subjects - decided, key=natural))
        chosen |= set(order[: max(0, count - len(chosen & subjects))])
        decided |= subjects
    return chosen


def choose(subjects: pd.DataFrame, patients: int, images: int, rng: np.random.Generator, draws: int = 1) -> set[str]:
    """Draw, uniformly among all such sets, subjects with that many patients and images, or the nearest there are.

    `subjects` has one row per subject with the columns `patients` and `images`; its index holds the names. Of several
    `draws`, the set is kept in which the images are spread most evenly over the subjects: the one with the largest
    effective number of subjects, (sum of images)^2 / sum of squares (Kish 1965, Survey Sampling).

    All sets are counted by dynamic programming (the counting form of the subset-sum problem) and one is drawn by
    walking back through the counts, so every exact solution is equally likely. Nearest means: the number of patients
    first, then the number of images.
    """
    people = np.asarray(subjects["patients"])
    sizes = np.asarray(subjects["images"])
    p, m = _nearest(people, sizes, patients, images)
    if len(sizes) * (p + 1) * (m + 1) > _MOST_COUNTS:
        raise UserError(f"split.test=report: {len(subjects)} subjects are too many to count; use split.test=fraction")
    # ways[i][p, m]: number of sets among the first i subjects with p patients and m images.
    ways = [np.zeros((p + 1, m + 1))]
    ways[0][0, 0] = 1
    for more_people, more_images in zip(people, sizes, strict=True):
        after = ways[-1].copy()
        if more_people <= p and more_images <= m:
            after[more_people:, more_images:] += ways[-1][: p + 1 - more_people, : m + 1 - more_images]
        ways.append(after)
    drawn = [_walk_back(ways, people, sizes, (p, m), rng) for _ in range(draws)]
    # All have the same number of images, so the smallest sum of squares has the largest effective number.
    best = min(drawn, key=lambda chosen: int((sizes[chosen] ** 2).sum()))
    return set(subjects.index[best].astype(str))


def _walk_back(
    ways: list[npt.NDArray[np.float64]], people: Counts, sizes: Counts, end: tuple[int, int], rng: np.random.Generator
) -> list[int]:
    """One set with `end` patients and images: each subject is in it as often as the counts say."""
    p, m = end
    chosen = []
    for i in range(len(sizes) - 1, -1, -1):
        if rng.random() * ways[i + 1][p, m] >= ways[i][p, m]:
            chosen.append(i)
            p, m = p - people[i], m - sizes[i]
    return chosen


def _nearest(people: Counts, sizes: Counts, patients: int, images: int) -> tuple[int, int]:
    """The sums of patients and images that some set of subjects has and that are nearest to those asked for.

    Adding one subject moves the patients by at most the largest subject, so the nearest number lies within the table.
    """
    most = min(int(people.sum()), patients + int(people.max()))
    possible = np.zeros((most + 1, int(sizes.sum()) + 1), dtype=np.bool_)
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


def _parts(index: pd.DataFrame, settings: Split) -> tuple[set[str], pd.Series]:
    """Subjects of a part of the data (its own test part, or a fold of C-NMC), and the images that are left out.

    With a fold, the data's own test part stays unseen, and so does everybody in it: settings can be chosen without it.
    """
    official = settings.test == "official"
    labelled, own_test = index["label"] != "", index["origin"].isin(HELD_OUT)
    unseen = labelled & index["subject"].isin(index.loc[own_test & (not official), "subject"])
    held_out = labelled & ~unseen & (own_test if official else index["origin"] == settings.test)
    training = labelled & ~unseen & ~held_out
    if not held_out.any():
        own = "the labelled preliminary part of C-NMC, or rows of labels.csv with split=test"
        what = own if official else f"images in training_data/{settings.test}/ of C-NMC"
        raise UserError(f"split.test={settings.test} needs {what}: add them, or use split.test=report or fraction")
    test = set(index.loc[held_out, "subject"])
    both = sorted(test & set(index.loc[training, "subject"]), key=natural)
    if both and settings.linked == "refuse":
        raise UserError(
            f"split.test={settings.test} would put subject {both[0]} on both sides (it has, or shares, images in both "
            f"parts; {len(both)} such subjects): use split.linked=drop_training or drop_test, or another split.test"
        )
    if settings.linked == "drop_test":
        return test - set(both), unseen | (held_out & index["subject"].isin(both))
    return test, unseen | (training & index["subject"].isin(test))
