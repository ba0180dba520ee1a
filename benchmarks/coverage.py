"""How often a 95 % interval holds the true value, and how wide it is: `python -m benchmarks.coverage` prints the table.

Cells are drawn from a model with patient effects whose true figures are known: the logit of a cell's probability is
normal, shifted by its class and by its patient. Two models share 60 % of either variance. The numbers of cells are
those of the subjects of C-NMC 2019: 4 HEM and 11 ALL drawn from all of them until the totals are within a tenth of the
published test set's, the official preliminary set, and everybody. Ranges are over three patient effects.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray, IntArray
from job.evaluation import intervals
from job.evaluation.blocks import Block, Cells
from job.seeds import generator

DATASET = Dataset("simulated", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
# Labelled cells of every subject of C-NMC 2019, and of those of its preliminary test set.
HEM = (
    5, 9, 13, 18, 19, 20, 20, 25, 29, 29, 30, 31, 32, 35, 38, 46, 47, 47, 50, 54, 69, 77, 84, 100, 108, 119, 137, 140,
    162, 162, 167, 185, 327, 373, 385, 404, 441,
)  # fmt: skip
ALL = (
    7, 9, 10, 11, 12, 14, 18, 19, 31, 35, 47, 53, 58, 69, 73, 74, 74, 83, 84, 89, 92, 92, 96, 97, 99, 103, 111, 111,
    112, 113, 139, 142, 145, 146, 155, 156, 161, 164, 178, 178, 181, 190, 197, 197, 201, 201, 212, 246, 250, 253, 262,
    267, 268, 278, 352, 402, 1074,
)  # fmt: skip
PRELIMINARY_HEM = (5, 9, 13, 19, 20, 25, 29, 31, 35, 38, 47, 54, 77, 84, 162)
PRELIMINARY_ALL = (7, 10, 12, 18, 47, 69, 83, 96, 111, 139, 164, 201, 262)
PUBLISHED = (578, 1836)
SIMULATIONS = {"4/11": 2000, "15/13": 2000, "37/57": 1000}

BETWEEN = (0.45, 1.0, 1.5)
"""Standard deviations of the patients' mean logits; that of cells around their patient is 1."""
MEANS, BETTER = (-0.9, 1.5), (-1.4, 2.1)
"""Mean logits of HEM and ALL, of a model and of a better one."""
SHARED = 0.6


class Simulation(NamedTuple):
    """One test set: of each metric whether its interval holds the truth, and its width (NaN without an interval).

    Attributes:
        figure: of one model.
        alone: the same as if every cell were a person.
        equal: of the difference of two equally good models.
        better: of the difference of a better model and that one.
        detected: whether the interval of `better` excludes zero.
    """

    figure: dict[str, tuple[float, float]]
    alone: dict[str, tuple[float, float]]
    equal: dict[str, tuple[float, float]]
    better: dict[str, tuple[float, float]]
    detected: dict[str, float]


def sizes(setting: str, draw: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Cells of each HEM and ALL subject."""
    if setting == "15/13":
        return np.array(PRELIMINARY_HEM), np.array(PRELIMINARY_ALL)
    if setting == "37/57":
        return np.array(HEM), np.array(ALL)
    drawn = []
    for subjects, people, total in ((HEM, 4, PUBLISHED[0]), (ALL, 11, PUBLISHED[1])):
        chosen = draw.choice(subjects, people, replace=False)
        while abs(chosen.sum() / total - 1) > 0.1:
            chosen = draw.choice(subjects, people, replace=False)
        drawn.append(chosen)
    return drawn[0], drawn[1]


def truth(means: tuple[float, float], between: float) -> dict[str, float]:
    """The figures that ever more subjects would approach."""
    spread = np.hypot(between, 1)
    specificity, sensitivity = stats.norm.cdf(-means[0] / spread), stats.norm.cdf(means[1] / spread)
    return {
        "balanced_accuracy": float((sensitivity + specificity) / 2),
        "sensitivity": float(sensitivity),
        "specificity": float(specificity),
        "auroc": float(stats.norm.cdf((means[1] - means[0]) / spread / np.sqrt(2))),
    }


def simulate(
    cells: tuple[IntArray, IntArray], models: Sequence[tuple[float, float]], between: float, draw: np.random.Generator
) -> list[Block]:
    """Predictions of several models, by their mean logits, of one test set with these numbers of cells."""
    each = np.concatenate(cells)
    subject = np.repeat(np.arange(len(each)), each)
    label = (subject >= len(cells[0])).astype(np.int64)
    people = Cells(DATASET, pd.DataFrame(), label, [f"{number:03}" for number in range(len(each))], subject)
    common_people, common_cells = draw.normal(size=len(each)), draw.normal(size=len(label))
    blocks = []
    for means in models:
        of_people = np.sqrt(SHARED) * common_people + np.sqrt(1 - SHARED) * draw.normal(size=len(each))
        of_cells = np.sqrt(SHARED) * common_cells + np.sqrt(1 - SHARED) * draw.normal(size=len(label))
        p = 1 / (1 + np.exp(-(np.array(means)[label] + between * of_people[subject] + of_cells)))
        blocks.append(
            Block(
                model="simulated", kind="fold", role="test", cells=people, probabilities=np.stack([1 - p, p], axis=1),
                predicted=(p > 0.5).astype(np.int64),
            )
        )  # fmt: skip
    return blocks


def one_test_set(setting: str, between: float, draw: np.random.Generator) -> Simulation:
    """Draw a test set and make all its intervals."""
    blocks = simulate(sizes(setting, draw), (MEANS, MEANS, BETTER), between, draw)
    first, second, better = (intervals.figures(block) for block in blocks)
    value, better_value = truth(MEANS, between), truth(BETTER, between)
    cells = blocks[0].cells
    persons = Cells(DATASET, cells.table, cells.truth, [""] * len(cells), np.arange(len(cells)))
    as_persons = intervals.figures(Block(**vars(blocks[0]) | {"cells": persons}))
    equal = {name: intervals.difference(second[name], first[name]) for name in intervals.METRICS}
    gain = {name: intervals.difference(better[name], first[name]) for name in intervals.METRICS}
    return Simulation(
        {name: _held(intervals.interval(first[name]), value[name]) for name in intervals.METRICS},
        {name: _held(intervals.interval(as_persons[name]), value[name]) for name in intervals.METRICS},
        {name: _held((one.low, one.high), 0) for name, one in equal.items()},
        {name: _held((one.low, one.high), better_value[name] - value[name]) for name, one in gain.items()},
        {name: float(one.low > 0 or one.high < 0) for name, one in gain.items()},
    )


def _held(ends: tuple[float, float] | str, value: float) -> tuple[float, float]:
    if isinstance(ends, str) or np.isnan(ends[0]):
        return np.nan, np.nan
    return float(ends[0] <= value <= ends[1]), ends[1] - ends[0]


def row(setting: str, metric: str, runs: list[list[Simulation]]) -> str:
    """A line of the table, from the simulations of every patient effect."""

    def over_effects(what: str, column: int, *, summary: str = "mean") -> str:
        every = [np.array([getattr(one, what)[metric] for one in simulations]) for simulations in runs]
        values = [one if one.ndim == 1 else one[:, column] for one in every]
        return _range([100 * float(getattr(np, f"nan{summary}")(one)) for one in values])

    equal = [np.array([one.equal[metric][0] for one in simulations]) for simulations in runs]
    columns = [
        setting, metric.replace("_", " ").replace("auroc", "AUROC"),
        over_effects("figure", 0), over_effects("figure", 1, summary="median"), over_effects("alone", 0),
        over_effects("better", 0), over_effects("better", 1, summary="median"),
        _range([100 * (1 - float(np.nanmean(one))) for one in equal]), over_effects("detected", 0),
    ]  # fmt: skip
    return f"| {' | '.join(columns)} |"


def _range(values: FloatArray | list[float]) -> str:
    low, high = round(min(values)), round(max(values))
    return str(low) if low == high else f"{low}–{high}"


HEADER = """\
| HEM/ALL subjects | metric | figure: held, % | median width, points | held if cells were persons, % \
| difference: held, % | median width, points | equal models told apart, % | a true difference detected, % |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--simulations", type=int, help="of every setting (default: 2000, and 1000 of 37/57)")
    parser.add_argument("--settings", nargs="+", choices=SIMULATIONS, default=list(SIMULATIONS))
    options = parser.parse_args()
    gains = [100 * (truth(BETTER, b)["balanced_accuracy"] - truth(MEANS, b)["balanced_accuracy"]) for b in BETWEEN]
    counts = ", ".join(f"{options.simulations or SIMULATIONS[name]} of {name}" for name in options.settings)
    print(f"Test sets simulated for each of the patient effects {', '.join(map(str, BETWEEN))}: {counts}.")
    print(f"The better model has {_range(gains)} points more of balanced accuracy.\n")
    print(HEADER)
    for setting in options.settings:
        runs = []
        for between in BETWEEN:
            numbers = range(options.simulations or SIMULATIONS[setting])
            progress = tqdm(numbers, desc=f"{setting}, {between}", disable=None)
            runs.append([
                one_test_set(setting, between, generator(2019, "coverage", setting, str(between), i)) for i in progress
            ])  # fmt: skip
        for metric in intervals.METRICS:
            print(row(setting, metric, runs), flush=True)


if __name__ == "__main__":
    main()
