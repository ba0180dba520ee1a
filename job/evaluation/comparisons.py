"""Which models are compared on the test set, declared beforehand, and by how much they differ.

Of all pairs of models some would differ by chance. So only these are tested: every vote with cell size alone, with the
votes of the other methods, and with the mean of its own folds; every student with its teacher, and with the same
network on the same labels where that was trained. Their p-values are adjusted for their number (Holm 1979).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from job.contracts.tables import FloatArray
from job.evaluation.blocks import Block
from job.evaluation.intervals import METRICS, SubjectMean, average, difference

COLUMNS = ["model", "other", "metric", "difference", "low", "high", "p", "p_holm", "positive", "negative", "subjects"]
Pairs = list[tuple[str, str]]
Figures = Mapping[str, Mapping[str, SubjectMean]]
"""By model and metric."""


def declared(methods: Sequence[str], students: Sequence[str], *, same_labels: bool) -> Pairs:
    """The pairs of a run of the pipeline; names are those of `with_means`.

    `students` are the methods that have a teacher; `same_labels` says whether `efficientnet` learned from the labels
    that teachers have.
    """
    pairs = [(f"{method}/majority", "baseline/area") for method in methods]
    pairs += [(f"{later}/majority", f"{earlier}/majority") for earlier, later in combinations(methods, 2)]
    pairs += [(f"{method}/majority", f"{method}/folds") for method in methods]
    pairs += [(f"{method}/folds", f"{method}/teachers") for method in students]
    if same_labels and "efficientnet" in methods:
        pairs += [(f"{method}/folds", "efficientnet/folds") for method in students]
    return pairs


def with_means(blocks: Sequence[Block], figures: Mapping[tuple[str, str], Mapping[str, SubjectMean]]) -> Figures:
    """Figures on the test set by model, and beside them the means `METHOD/folds` and `METHOD/teachers`.

    `figures` holds what `intervals.figures` returned, by model and role.
    """
    named = {model: entry for (model, role), entry in figures.items() if role == "test"}
    groups: dict[str, list[str]] = {}
    for block in blocks:
        if block.kind == "fold":
            groups.setdefault(f"{block.method}/folds", []).append(block.model)
        elif block.kind == "iteration" and block.iteration == 0 and block.role == "test":
            groups.setdefault(f"{block.method}/teachers", []).append(block.model)
    means = {
        name: {metric: average([named[member][metric] for member in members]) for metric in METRICS}
        for name, members in groups.items()
    }
    return named | means


def differences(pairs: Pairs, figures: Figures) -> pd.DataFrame:
    """The paired difference of every pair in every metric, `model` less `other`, over subjects, as `COLUMNS`.

    `low` and `high` are of the 95 % interval, `p` is two-sided, `p_holm` the same adjusted for all rows; NaN where
    there are too few subjects, or none differs. `positive` and `negative` count subjects by the sign of the difference.
    """
    rows = [
        (model, other, metric, *difference(figures[model][metric], figures[other][metric]))
        for model, other in pairs
        for metric in METRICS
    ]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    table["p_holm"] = holm(table["p"].to_numpy(dtype=np.float64))
    return table[COLUMNS]


def holm(p: FloatArray) -> FloatArray:
    """Holm's step-down adjustment (1979, Scand J Stat 6:65) of p-values; NaN, which is no test, stays NaN."""
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted
