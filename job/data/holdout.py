"""Choosing the test subjects: as many patients and images as the published report, the preliminary part, or a share."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.data import cnmc
from job.data.subjects import natural
from job.errors import UserError
from job.params import Split
from job.seeds import generator

REPORT_TEST = {
    "ALL": {"patients": (11, 60), "images": (1836, 8491)},
    "HEM": {"patients": (4, 41), "images": (578, 4037)},
}
"""Table 1 of the report: patients and images held out, each out of the whole set's."""


def test_subjects(index: pd.DataFrame, params: Split) -> tuple[set[str], dict[str, Any]]:
    """Subjects of the test set, and per class what was wanted and what was reached.

    Raises:
        UserError: the data has no such test set.
    """
    labelled = index[index["label"] != ""]
    if params.test == "official":
        chosen = _official(labelled)
        return chosen, _reached(labelled, chosen, {})
    chosen = set()
    wanted: dict[str, dict[str, int]] = {}
    for label, group in labelled.groupby("label"):
        rng = generator(params.seed, "split", "test", str(label))
        subjects = _subjects(group)
        if len(subjects) < 2:
            raise UserError(f"class {label} has one subject: it cannot be both in training and in the test set")
        if params.test == "report":
            wanted[str(label)] = _report_target(str(label), group)
            chosen |= choose(subjects, wanted[str(label)]["patients"], wanted[str(label)]["images"], rng)
        else:
            count = min(max(1, round(params.test_share * len(subjects))), len(subjects) - 1)
            chosen |= set(rng.permutation(subjects.index)[:count])
    return chosen, _reached(labelled, chosen, wanted)


def choose(subjects: pd.DataFrame, patients: int, images: int, rng: np.random.Generator) -> set[str]:
    """Draw, uniformly among all such sets, subjects with that many patients and images, or the nearest there are.

    All sets are counted by dynamic programming (the counting form of the subset-sum problem) and one is drawn by
    walking back through the counts, so every exact solution is equally likely. Nearest means: the number of patients
    first, then the number of images.

    Args:
        subjects: one row per subject with columns `patients` and `images`; its index holds the names.
        patients: wanted sum of `patients`.
        images: wanted sum of `images`.
        rng: the generator of the draw.
    """
    people = np.asarray(subjects["patients"])
    sizes = np.asarray(subjects["images"])
    # ways[i][p, m]: number of sets among the first i subjects with p patients and m images. Adding one subject moves p
    # by at most the largest subject, so the nearest number of patients lies within this table.
    rows = min(int(people.sum()), patients + int(people.max())) + 1
    ways = [np.zeros((rows, int(sizes.sum()) + 1))]
    ways[0][0, 0] = 1
    for p, m in zip(people, sizes, strict=True):
        after = ways[-1].copy()
        after[p:, m:] += ways[-1][: after.shape[0] - p, : after.shape[1] - m]
        ways.append(after)
    p, m = _nearest(ways[-1], patients, images)
    chosen: set[str] = set()
    for i in range(len(subjects), 0, -1):
        without, both = ways[i - 1][p, m], ways[i][p, m]
        if rng.random() * both >= without:
            chosen.add(str(subjects.index[i - 1]))
            p, m = p - people[i - 1], m - sizes[i - 1]
    return chosen


def _nearest(ways: npt.NDArray[np.float64], patients: int, images: int) -> tuple[int, int]:
    # The empty set and the whole class are no test sets: both sides need somebody.
    possible = ways > 0
    possible[0, :] = False
    possible[:, -1] = False
    p, m = np.nonzero(possible)
    best = np.lexsort((m, p, np.abs(m - images), np.abs(p - patients)))[0]
    return int(p[best]), int(m[best])


def _subjects(group: pd.DataFrame) -> pd.DataFrame:
    """Patients and images of each subject, in a fixed order."""
    people = group["patient"].where(group["patient"] != "", group["image"])
    table = group.assign(person=people).groupby("subject").agg(patients=("person", "nunique"), images=("image", "size"))
    return table.loc[sorted(table.index, key=natural)]


def _report_target(label: str, group: pd.DataFrame) -> dict[str, int]:
    """The report's numbers for the full set, the same shares for any other."""
    shares = REPORT_TEST.get(label)
    if shares is None:
        raise UserError(f"split.test=report knows ALL and HEM, not {label}: use split.test=fraction")
    people = group["patient"].where(group["patient"] != "", group["image"]).nunique()
    counts = {"patients": people, "images": len(group)}
    return {name: max(1, round(counts[name] * part / whole)) for name, (part, whole) in shares.items()}


def _official(labelled: pd.DataFrame) -> set[str]:
    test = set(labelled.loc[labelled["origin"] == "preliminary", "subject"])
    train = set(labelled.loc[labelled["origin"] == "train", "subject"])
    if not test:
        raise UserError(
            f"split.test=official needs the labelled preliminary part ({cnmc.PRELIMINARY}) under data.root: "
            "add it, or use split.test=report or fraction"
        )
    if both := sorted(test & train, key=natural):
        raise UserError(
            f"split.test=official would put subject {both[0]} on both sides (identical images in both parts): "
            "use split.test=report or fraction"
        )
    return test


def _reached(labelled: pd.DataFrame, chosen: set[str], wanted: dict[str, dict[str, int]]) -> dict[str, Any]:
    test = labelled[labelled["subject"].isin(chosen)]
    result = {}
    for label, group in labelled.groupby("label"):
        part = test[test["label"] == label]
        reached = {"patients": int(part["patient"].nunique()), "images": len(part)}
        result[str(label)] = {"wanted": wanted.get(str(label)), "reached": reached, "of": len(group)}
    return result
