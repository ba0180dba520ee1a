"""The table of an ablation: one line per arm, as CSV with every digit and as Markdown for docs/results.md."""

import io
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from benchmarks.arms import BASE, CONTROL, Arm, experiment
from benchmarks.comparison import SHOWN, Comparison, Difference
from job.contracts.dataset import read_dataset
from job.contracts.split import read_split
from job.params import Params

TEACHER = "teacher of "


class Experiments(Protocol):
    """Where the finished experiments are."""

    repository: Path

    def read(self, name: str, path: str) -> str:
        """A file of an experiment."""

    def seconds(self, name: str) -> float | None:
        """Of an experiment's training, where this machine did it."""


def build(bench: Experiments, arms: Sequence[Arm], seeds: Sequence[int]) -> pd.DataFrame:
    """One row per arm.

    Returns:
        `arm, changed, method, settings, seeds, images, seconds`; for each metric of `SHOWN` the mean over seeds, every
        subject counting once, with `_low, _high`; and for each of them the difference to `base`, to `control` (see
        `benchmarks.arms`) and to `teacher` (the first model of the same run), empty where there is none, with
        `_low, _high, _by_seed, _p_holm, _verdict`.
    """
    predictions: dict[str, list[pd.DataFrame]] = {}
    images: dict[str, float] = {}
    for arm in arms:
        tables = []
        for seed in seeds:
            name = experiment(arm.experiment, seed)
            text = {"image": str, "subject": str, "label": str, "model": str, "role": str}
            table = pd.read_csv(io.StringIO(bench.read(name, "results/predictions.csv")), dtype=text)
            tables.append(table[table["role"] == "test"])
        predictions[arm.name] = [
            _rows(table, _model(arm, seed, arm.iteration)) for table, seed in zip(tables, seeds, strict=True)
        ]
        if _iterates(tables[0], arm):
            predictions[TEACHER + arm.name] = [
                _rows(table, _model(arm, seed, 0)) for table, seed in zip(tables, seeds, strict=True)
            ]
        images[arm.name] = float(np.mean([_images(bench, arm, seed) for seed in seeds]))
    comparison = Comparison(predictions, read_dataset(bench.repository / "data/prepared/summary.json"))
    pairs = [
        (arm.name, reference)
        for arm in arms
        for reference in _references(arm).values()
        if reference in comparison.models and reference != arm.name
    ]
    differences = {metric: comparison.differences(pairs, metric) for metric in SHOWN}
    rows = []
    for arm in arms:
        row = _row(comparison, arm, seeds, images[arm.name], _seconds(bench, arm, seeds))
        for other, reference in _references(arm).items():
            for metric in SHOWN:
                row |= _columns(f"{metric}_less_{other}", differences[metric].get((arm.name, reference)))
        rows.append(row)
    return pd.DataFrame(rows).assign(test_images=comparison.images, test_subjects=comparison.subjects)


def _references(arm: Arm) -> dict[str, str]:
    """What an arm is compared with, by the name of the column."""
    return {"base": BASE, "control": CONTROL, "teacher": TEACHER + arm.name}


def markdown(table: pd.DataFrame) -> str:
    """The table as docs/results.md has it, with a sentence on what it was measured on."""
    what = (
        f"{table['seeds'].iloc[0]} seeds, {table['test_images'].iloc[0]:,} test images of "
        f"{table['test_subjects'].iloc[0]} subjects; AUROC and balanced accuracy with every subject counting once; "
        "differences of AUROC in points, with 95 % intervals over subjects and seeds and the range over seeds, to the "
        "first line, to the third, and to the first model of the same run; bold where the p-value, adjusted for the "
        "number of differences (Holm), is below 5 %:"
    )
    lines = [
        what,
        "",
        "| arm | balanced accuracy | AUROC | less base | less base, steps, noise | less teacher | images | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        seconds = "–" if np.isnan(row["seconds"]) else f"{row['seconds']:.0f}"
        cells = [
            row["changed"], *(f"{row[metric]:.3f}" for metric in SHOWN),
            *(_difference(row, other) for other in ("base", "control", "teacher")), f"{row['images']:,.0f}", seconds,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _difference(row: Mapping[Hashable, Any], other: str) -> str:
    value, low, high = (row[f"auroc_less_{other}{end}"] for end in ("", "_low", "_high"))
    if np.isnan(value):
        return "–"
    seeds = [100 * float(one) for one in str(row[f"auroc_less_{other}_by_seed"]).split()]
    text = f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] ({min(seeds):+.1f} … {max(seeds):+.1f})"
    verdict = row[f"auroc_less_{other}_verdict"]
    return text if verdict == "not told apart" else f"**{text} {verdict}**"


def _row(comparison: Comparison, arm: Arm, seeds: Sequence[int], images: float, seconds: float) -> dict[str, Any]:
    settings = " ".join(f"{key}={value}" for key, value in arm.settings.items())
    row: dict[str, Any] = {
        "arm": arm.name, "changed": arm.changed, "method": arm.method, "settings": settings, "seeds": len(seeds),
        "images": round(images), "seconds": seconds,
    }  # fmt: skip
    for metric in SHOWN:
        figure = comparison.figure(arm.name, metric)
        row |= {metric: figure["value"], f"{metric}_low": figure["low"], f"{metric}_high": figure["high"]}
    return row


def _columns(name: str, difference: Difference | None) -> dict[str, str | int | float]:
    if difference is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high", f"{name}_p_holm"), float("nan")) | dict.fromkeys(
            (f"{name}_by_seed", f"{name}_verdict"), ""
        )
    return {
        name: difference.value,
        f"{name}_low": difference.low,
        f"{name}_high": difference.high,
        f"{name}_by_seed": " ".join(f"{one:.6f}" for one in difference.by_seed),
        f"{name}_p_holm": difference.p_holm,
        f"{name}_verdict": difference.verdict,
    }


def _model(arm: Arm, seed: int, iteration: int | None) -> str:
    """Name of a model in results/predictions.csv; a seed is also the number of its fold."""
    return f"{arm.method}/fold-{seed}" + ("" if iteration is None else f"/iteration-{iteration}")


def _rows(table: pd.DataFrame, model: str) -> pd.DataFrame:
    rows = table[table["model"] == model]
    assert len(rows), f"no predictions of {model}"
    return rows


def _iterates(table: pd.DataFrame, arm: Arm) -> bool:
    return bool(table["model"].str.startswith(f"{arm.method}/").mul(table["model"].str.endswith("/iteration-0")).any())


def _images(bench: Experiments, arm: Arm, seed: int) -> int:
    """Images that the arm's models trained on, counted as often as they were used."""
    text = bench.read(experiment(arm.experiment, seed), "params.yaml")
    params = Params.model_validate(YAML(typ="safe").load(text))
    if arm.iteration is not None:
        student = params.noisy_student.model_copy(update={"iterations": arm.iteration})
        params = params.model_copy(update={"noisy_student": student})
    data = bench.repository / "data"
    classes = read_dataset(data / "prepared/summary.json").classes
    fold = read_split(data / "split.csv", classes).fold(seed, classes, labels=params.labels(arm.method))
    return _counts(params, len(fold.train.rows), len(fold.unlabelled))[arm.method]


def _counts(params: Params, labelled: int, unlabelled: int) -> dict[str, int]:
    """Images in all steps of all models of a fold, by method; of Meta Pseudo Labels those of the student alone."""
    epochs, noisy = params.train.epochs, params.noisy_student
    student = unlabelled + (-(-unlabelled // noisy.batch_ratio) if noisy.train_on == "labelled+pseudo" else 0)
    tuned = params.meta_pseudo_labels.finetune_epochs * labelled
    return {
        "efficientnet": epochs * labelled,
        "noisy_student": epochs * labelled + noisy.iterations * (epochs * student + noisy.finetune_epochs * labelled),
        "meta_pseudo_labels": epochs * unlabelled + tuned,
        "linear_probe": labelled * (1 if params.train.augment == "none" else 8),
    }


def _seconds(bench: Experiments, arm: Arm, seeds: Sequence[int]) -> float:
    if arm.run:
        return float("nan")
    known = [bench.seconds(experiment(arm.name, seed)) for seed in seeds]
    return float(np.mean([one for one in known if one is not None])) if any(known) else float("nan")
