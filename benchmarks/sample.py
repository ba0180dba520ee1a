"""`python -m benchmarks.sample --root DIR`: the methods on a small sample of real cells, beside the size of a cell.

Every image is judged by a network that saw nobody who shares a subject with it (`split.fold_by=subject`), so a sample
too small for a test set still gives out-of-fold figures. Two subjects are set aside, as the split wants a test set; all
other labelled images are scored. Each arm is an experiment of DVC in a clone under `.work/sample/`.

Where several settings are tried on the same few images, the best of them looks better than it is: the table has them
all, in the order in which they were written down.
"""

import argparse
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.arms import RECOMMENDED
from benchmarks.experiments import Clone, Settings, opened
from job.errors import UserError

FOLDER = Path(".work/sample")
COMMON: dict[str, str | int | float] = {
    "data.pixels": 128, "split.test": "fraction", "split.test_share": 0.01, "split.fold_by": "subject",
    "train.epochs": 8, "train.learning_rate": 0.001, "train.schedule": "step",
}  # fmt: skip

PROBE: dict[str, str | int | float] = {"methods": "[linear_probe]"}
VIEWS = PROBE | {"train.augment": "dihedral"}
ARMS: dict[str, dict[str, str | int | float]] = {
    "linear-probe": PROBE,
    "linear-probe-c-0.1": PROBE | {"linear_probe.c": 0.1},
    "linear-probe-tta": PROBE | {"predict.tta": "true"},
    "linear-probe-views": VIEWS | {"predict.tta": "true"},
    "linear-probe-views-c-0.1": VIEWS | {"predict.tta": "true", "linear_probe.c": 0.1},
    "linear-probe-views-224": VIEWS | {"predict.tta": "true", "data.pixels": 224},
    "linear-probe-views-lite2": VIEWS | {"predict.tta": "true", "model.backbone": "efficientnet-lite2"},
    "efficientnet": {"methods": "[efficientnet]"},
    "noisy-student-published": {"methods": "[noisy_student]"},
    "noisy-student-recommended": {"methods": "[noisy_student]", **RECOMMENDED},
}


def main() -> int:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sample", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder with the images, in any layout of data.layout")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="experiments at a time")
    options = parser.parse_args()
    try:
        with opened(FOLDER) as clone:
            clone.prepare(COMMON | {"data.root": str(options.root.resolve())})
            clone.run_all(ARMS, options.jobs)
            print(markdown(clone, ARMS))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def markdown(clone: Clone, arms: dict[str, dict[str, str | int | float]]) -> str:
    """The arms' out-of-fold figures: per cell, of persons (mean probability), and per patient with its interval."""
    lines = ["| what | AUROC per cell | AUROC of persons | AUROC per patient [95 %] |", "|---|---|---|---|"]
    for number, name in enumerate(arms):
        table, entry = _out_of_fold(clone, name)
        if number == 0:
            lines.append(_area(clone, table))
        people = entry["by_subject"]["auroc"]
        interval = f"{people['value']:.3f} [{people['low']:.3f}, {people['high']:.3f}]"
        figure = entry["metrics"]["auroc"]
        words, persons = _words(name, arms[name]), _persons(table, "p_ALL")
        lines.append(f"| {words} | {figure:.3f} | {persons:.3f} | {interval} |")
    return "\n".join(lines)


def _words(name: str, settings: Settings) -> str:
    return f"{name}: `{' '.join(f'{key}={value}' for key, value in settings.items())}`"


def _out_of_fold(clone: Clone, name: str) -> tuple[pd.DataFrame, dict[str, dict[str, dict[str, float]]]]:
    text = {"image": str, "subject": str, "kind": str}
    table = pd.read_csv(io.StringIO(clone.read(name, "results/predictions.csv")), dtype=text)
    models = json.loads(clone.read(name, "results/evaluation.json"))["models"]
    (entry,) = (model for model in models if model["kind"] == "out_of_fold")
    return table[table["kind"] == "out_of_fold"], entry


def _area(clone: Clone, table: pd.DataFrame) -> str:
    """The same figures of the box's area, which needs no training."""
    index = pd.read_csv(clone.repository / "data/prepared/index.csv", dtype={"image": str}).set_index("image")
    boxes = index.loc[table["image"]]
    cells = table.assign(area=(boxes["box_w"] * boxes["box_h"]).to_numpy(np.float64))
    figure = roc_auc_score(cells["label"] == "ALL", cells["area"])
    return f"| area of the cell's box, {len(cells)} images | {figure:.3f} | {_persons(cells, 'area'):.3f} | |"


def _persons(table: pd.DataFrame, score: str) -> float:
    """AUROC over subjects, each with the mean score of its images."""
    people = table.assign(positive=table["label"] == "ALL").groupby("subject")[["positive", score]].mean()
    return float(roc_auc_score(people["positive"] > 0.5, people[score]))


if __name__ == "__main__":
    sys.exit(main())
