"""What is known of the models and how surely: intervals of every figure, and of the difference between any two models.

Intervals are of subjects, 95 %, with ends rounded to six digits: their last ones would be the machine's.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from job import seeds
from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray
from job.evaluation import intervals
from job.evaluation.intervals import Replicates
from job.evaluation.metrics import METRICS
from job.evaluation.replicates import Scored, Subjects
from job.evaluation.scored import Block, scored
from job.params import Evaluation

KINDS = ("fold", "ensemble", "baseline", "out_of_fold")
DIGITS = 6


def subjects_of(images: list[str], truth: pd.DataFrame, dataset: Dataset) -> Subjects:
    """Who a set of images belongs to."""
    known = truth.loc[images]
    return Subjects.of(known["subject"].tolist(), known["truth"].to_numpy(), len(dataset.classes))


def replicate(
    blocks: list[Block], truth: pd.DataFrame, dataset: Dataset, settings: Evaluation
) -> dict[tuple[str, str], Replicates]:
    """Replicates of every block that gets intervals, by model and role; those of the same images share their draws."""
    found: dict[tuple[str, str], Replicates] = {}
    together: dict[tuple[str, tuple[str, ...]], list[Block]] = {}
    for block in blocks:
        if block.kind in KINDS:
            together.setdefault((block.role, tuple(block.images)), []).append(block)
    for (role, images), own in together.items():
        subjects = subjects_of(list(images), truth, dataset)
        generator = seeds.generator(settings.seed, "evaluation", "bootstrap", role)
        models = [scored(block, truth) for block in own]
        for block, every in zip(
            own, intervals.replicate(models, subjects, dataset, settings.resamples, generator), strict=True
        ):
            found[block.model, role] = every
    return found


def interval_entries(
    found: Replicates, undefined: dict[str, str], dataset: Dataset
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Intervals of one model by metric, and for each metric that has none the reason.

    Returns:
        By metric `low` and `high` (the interval to print: jackknife t), `percentile` and `bca` (of the bootstrap, too
        narrow with few subjects; None where there is none).
    """
    printed = intervals.jackknife_t(found, intervals.SCALES)
    resampled = {"percentile": intervals.percentile(found), "bca": intervals.bca(found)}
    entries: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    for i, name in enumerate(METRICS):
        if name in undefined:
            reasons[name] = f"the figure is undefined: {undefined[name]}"
        elif name == "ece":
            reasons[name] = "few images per bin bias the estimate upwards, and no method covered the true value"
        elif np.isnan(printed[:, i]).any():
            reasons[name] = _why_none(found, i, dataset)
        else:
            low, high = _rounded(printed[:, i])
            entries[name] = {"low": low, "high": high} | {
                method: None if np.isnan(ends[:, i]).any() else _rounded(ends[:, i])
                for method, ends in resampled.items()
            }
    return entries, reasons


def _why_none(found: Replicates, metric: int, dataset: Dataset) -> str:
    left_out = found.left_out[:, metric]
    if np.isnan(left_out).any():
        return "without one of the subjects the figure is undefined"
    if np.allclose(left_out, left_out[0], rtol=0, atol=1e-9):
        return "every subject gives the same figure, so nothing tells how much another would differ"
    people = np.bincount(found.stratum, minlength=len(dataset.classes))
    few = [f"{name} has {n}" for name, n in zip(dataset.classes, people, strict=True) if n < intervals.FEWEST]
    return f"too few subjects, an interval needs {intervals.FEWEST} of a class: {' and '.join(few)}"


def differences(found: dict[tuple[str, str], Replicates]) -> pd.DataFrame:
    """Paired differences between any two models on the test images, one row per pair and metric.

    Returns:
        `model, other, metric, difference, low, high, percentile_low, percentile_high, bca_low, bca_high`: figure of
        `model` less that of `other`; NaN where an interval, or the figure, does not exist. `low` and `high` are of the
        jackknife over subjects.
    """
    tested = [(model, every) for (model, role), every in found.items() if role == "test"]
    parts = []
    for (model, one), (other, two) in combinations(tested, 2):
        paired = one - two
        ends = [
            intervals.jackknife_t(paired, intervals.DIFFERENCES), intervals.percentile(paired), intervals.bca(paired),
        ]  # fmt: skip
        values = np.concatenate([paired.estimate[None], *ends]).round(DIGITS).T
        part = pd.DataFrame(values, columns=DIFFERENCE_COLUMNS[3:])
        part.insert(0, "model", model)
        part.insert(1, "other", other)
        part.insert(2, "metric", METRICS)
        parts.append(part[part["metric"] != "ece"])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=DIFFERENCE_COLUMNS)


DIFFERENCE_COLUMNS = [
    "model", "other", "metric", "difference", "low", "high", "percentile_low", "percentile_high", "bca_low", "bca_high",
]  # fmt: skip


def if_images_were_independent(
    block: Block, found: Replicates, truth: pd.DataFrame, dataset: Dataset
) -> dict[str, Any]:
    """One model's intervals beside those of the usual mistake, which takes every image for a person: both jackknife."""
    known = truth.loc[block.images, "truth"].to_numpy()
    people = Subjects.of(block.images, known, len(dataset.classes))
    (wrong,) = intervals.replicate([scored(block, truth)], people, dataset, 0, np.random.default_rng(0))
    ends, right = (intervals.jackknife_t(one, intervals.SCALES) for one in (wrong, found))
    return {
        "model": block.model,
        "metrics": {
            name: {"value": float(found.estimate[i]), "subjects": _rounded(right[:, i]), "images": _rounded(ends[:, i])}
            for i, name in enumerate(METRICS)
            if name != "ece" and not np.isnan(right[:, i]).any() and not np.isnan(ends[:, i]).any()
        },
    }


def interval_of_calls(model: Scored, subjects: Subjects, dataset: Dataset) -> dict[str, list[float] | None]:
    """Intervals of sensitivity and specificity of one set of calls, by the jackknife alone."""
    (found,) = intervals.replicate([model], subjects, dataset, 0, np.random.default_rng(0))
    ends = intervals.jackknife_t(found, intervals.SCALES)
    return {
        name: None if np.isnan(ends[:, METRICS.index(name)]).any() else _rounded(ends[:, METRICS.index(name)])
        for name in ("sensitivity", "specificity")
    }


def _rounded(ends: FloatArray) -> list[float]:
    return [round(float(end), DIGITS) for end in ends]
