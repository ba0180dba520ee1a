"""How often a 95 % interval holds the true value: `python -m benchmarks.coverage` prints the README's table.

Cells are drawn from a model with strong patient effects whose true figures are known: the logit of a cell's probability
is normal, shifted by its class and by its patient. The numbers of subjects and images are those of C-NMC 2019: the
published test set, the preliminary set and all labelled images.
"""

import argparse
from typing import NamedTuple

import numpy as np
from scipy import stats
from tqdm import tqdm

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray
from job.evaluation import intervals, replicates
from job.evaluation.metrics import METRICS, score
from job.seeds import generator

DATASET = Dataset("simulated", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
# Subjects and images of HEM and ALL. The smaller ones are parts of the first.
SETTINGS = {
    "2/11": ((2, 11), (289, 1836)),
    "3/11": ((3, 11), (434, 1836)),
    "4/11": ((4, 11), (578, 1836)),
    "15/13": ((15, 13), (648, 1219)),
    "37/57": ((37, 57), (4037, 8491)),
}


class Effects(NamedTuple):
    """Means of the classes' logits, deviation of patients' own means from them, and of cells around their patient."""

    means: tuple[float, float]
    between: float
    within: float = 1.0


USUAL = Effects((-0.9, 1.5), 0.45)
HARDER = Effects((-1.8, 2.0), 0.6)  # rates near one, where they cannot scatter evenly
SHOWN = ("specificity", "sensitivity", "balanced_accuracy", "auroc")


def truth(images: tuple[int, int], effects: Effects) -> FloatArray:
    """The figures that ever more subjects would approach, shape (metrics,): quantiles stand for the cells."""
    spread = np.hypot(effects.between, effects.within)
    many = 400_000
    counts = [round(many * n / sum(images)) for n in images]
    logits = [m + spread * stats.norm.ppf((np.arange(n) + 0.5) / n) for m, n in zip(effects.means, counts, strict=True)]
    label = np.repeat([0, 1], counts)
    p = 1 / (1 + np.exp(-np.concatenate(logits)))
    found = score(label, (p > 0.5).astype(np.int64), np.stack([1 - p, p], axis=1), DATASET)
    return np.array([found.metrics[name] for name in METRICS], dtype=float)


def simulate(
    subjects: tuple[int, int], images: tuple[int, int], effects: Effects, draw: np.random.Generator
) -> tuple[replicates.Scored, replicates.Subjects]:
    """One test set: a model's calls, and whose the images are. Subjects differ in their number of images."""
    codes, labels, logits, first = [], [], [], 0
    for label, (people, cells) in enumerate(zip(subjects, images, strict=True)):
        size = 1 + draw.multinomial(cells - people, draw.dirichlet(np.full(people, 4.0)))
        own = np.repeat(np.arange(people), size)
        codes.append(first + own)
        labels.append(np.full(cells, label))
        patient = draw.normal(effects.means[label], effects.between, people)
        logits.append(patient[own] + draw.normal(0, effects.within, cells))
        first += people
    p = 1 / (1 + np.exp(-np.concatenate(logits)))
    probabilities = np.stack([1 - p, p], axis=1)
    label = np.concatenate(labels)
    names = [f"{code:04}" for code in np.concatenate(codes)]
    scored = replicates.Scored(label, (p > 0.5).astype(np.int64), probabilities)
    return scored, replicates.Subjects.of(names, label, 2)


def covered(setting: str, effects: Effects, simulations: int, resamples: int) -> dict[str, FloatArray]:
    """By method, whether each simulation's interval holds the truth, shape (simulations, metrics); NaN without one."""
    subjects, images = SETTINGS[setting]
    wanted = truth(images, effects)
    hits: dict[str, list[FloatArray]] = {}
    for i in tqdm(range(simulations), desc=setting, disable=None):
        draw = generator(2019, "coverage", setting, i)
        scored, people = simulate(subjects, images, effects, draw)
        weights = np.concatenate(
            [
                np.ones((1, len(people.names))),
                replicates.leave_one_out(people),
                replicates.draw(people, resamples, draw),
            ]
        )
        (every,) = replicates.figures_of_all(weights, [scored], people, DATASET)
        s = 1 + len(people.names)
        found = intervals.Replicates(every[0], every[s:], every[1:s], people.stratum, np.bincount(people.code))
        ends = {
            "images, percentile": _of_images(scored, resamples, draw),
            "subjects, percentile": intervals.percentile(found),
            "subjects, BCa": intervals.bca(found),
            "subjects, jackknife t": intervals.jackknife_t(found, intervals.SCALES),
        }
        for name, (low, high) in ends.items():
            inside = np.where(np.isnan(low), np.nan, (low <= wanted) & (wanted <= high))
            hits.setdefault(name, []).append(inside)
    return {name: np.array(rows) for name, rows in hits.items()}


def _of_images(scored: replicates.Scored, resamples: int, draw: np.random.Generator) -> FloatArray:
    """What treating every image as independent would give, for the metrics of calls."""
    count = np.bincount(scored.truth * 2 + scored.predicted, minlength=4)
    stratum = np.array([0, 0, 1, 1])
    resampled = np.zeros((resamples, 4))
    for label in (0, 1):
        own = count[stratum == label]
        resampled[:, stratum == label] = draw.multinomial(own.sum(), own / own.sum(), resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = replicates.label_figures(resampled.reshape(-1, 2, 2), DATASET)
    ends = np.full((2, len(METRICS)), np.nan)
    for i, name in enumerate(METRICS):
        if name in found:
            ends[:, i] = np.quantile(found[name], [0.025, 0.975])
    return ends


def main() -> None:
    """Print one row per setting and method."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--harder", action="store_true", help="rates near one and stronger patient effects")
    options = parser.parse_args()
    print("| HEM/ALL subjects | 95 % interval from | " + " | ".join(SHOWN) + " | lowest of all metrics |")
    print("|---|---|" + "---|" * (len(SHOWN) + 1))
    effects = HARDER if options.harder else USUAL
    for setting in options.settings:
        for name, inside in covered(setting, effects, options.simulations, options.resamples).items():
            # An ECE is biased upwards by its bins: no interval around it is printed anywhere.
            known = {m: values[~np.isnan(values)] for m, values in zip(METRICS, inside.T, strict=True) if m != "ece"}
            share = {m: values.mean() for m, values in known.items() if len(values)}
            worst = min(share, key=lambda metric: share[metric])
            cells = [f"{100 * share[m]:.1f} %" if m in share else "–" for m in SHOWN]
            print(f"| {setting} | {name} | {' | '.join(cells)} | {100 * share[worst]:.1f} % ({worst}) |", flush=True)


if __name__ == "__main__":
    main()
