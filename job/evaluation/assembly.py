"""The evidence about a set of models, in the form in which results/evaluation.json holds it.

Keys beside those of the stage `evaluate` (names, classes, tables 1 to 3, published figures):

- `models`: `model, method, kind, rule, fold, iteration, role, images, subjects, ties, confusion`; `metrics` by name,
  every cell counting once, None where `undefined` gives the reason; `by_subject`, every subject counting once, with
  `value, low, high` of each of `intervals.METRICS`, and the reason in `no_interval` where low and high are None. Kinds:
  fold, iteration (a teacher or student), ensemble, out_of_fold, baseline.
- `self_training`: per method, fold and iteration what `self_training.trace` returns of its pseudo-labels.
- `evidence`: `warnings` that belong beside every figure.
- `image_level`: one model's intervals over `subjects` beside the mistaken ones over `images`.
- `patients`: per vote what `patients.assess` returns.
- `calibration`, `operating_points`, `abstention`: per method what `decisions` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.evaluation import comparisons, decisions, intervals, metrics, patients
from job.evaluation.blocks import KEYS, Block, Cells, Fitted
from job.params import Evaluation

NO_PATIENTS = (
    "The patients are not known, so every image counts as a subject of its own. Cells of one person are alike: the "
    "intervals are too narrow, by a factor that cannot be told."
)


@dataclass(frozen=True)
class Evidence:
    """What follows from predictions and truth.

    Attributes:
        models: one entry per model and role.
        differences: what `comparisons.differences` returns.
        sections: further keys of results/evaluation.json.
    """

    models: list[dict[str, Any]]
    differences: pd.DataFrame
    sections: dict[str, Any]


def assess(blocks: list[Block], fitted: list[Fitted], pairs: comparisons.Pairs, settings: Evaluation) -> Evidence:
    """All evidence about the models of `blocks`.

    Args:
        blocks: predictions; those of test cells hold the same ones.
        fitted: what calibration, operating points and abstention are about.
        pairs: the declared comparisons.
        settings: section `evaluation` of the parameters.
    """
    dataset = blocks[0].cells.dataset
    figures = {(block.model, block.role): intervals.figures(block) for block in blocks}
    models = [_entry(block, figures[block.model, block.role]) for block in blocks]
    shown = {"ensemble", "out_of_fold"} if dataset.patients_known else set()
    persons = [block for block in blocks if block.kind in shown or (shown and block.model == "baseline/area")]
    return Evidence(
        models,
        comparisons.differences(pairs, comparisons.with_means(blocks, figures)),
        {
            "evidence": {"warnings": [] if dataset.patients_known else [NO_PATIENTS]},
            "image_level": _image_level(persons),
            "patients": [patients.assess(block) for block in persons],
            **decisions.sections(fitted, settings),
        },
    )


def header(dataset: Dataset) -> dict[str, Any]:
    """The first keys of results/evaluation.json: what the predictions are about."""
    return {
        "schema": 2,
        "name": dataset.name,
        "synthetic": dataset.synthetic,
        "classes": list(dataset.classes),
        "positive": dataset.positive,
    }


def _entry(block: Block, figures: dict[str, intervals.SubjectMean]) -> dict[str, Any]:
    cells = block.cells
    scores = metrics.score(cells.truth, block.predicted, block.probabilities, cells.dataset)
    by_subject, no_interval = {}, {}
    for name, figure in figures.items():
        if name in scores.undefined:
            by_subject[name] = dict.fromkeys(("value", "low", "high"))
            no_interval[name] = f"the figure is undefined: {scores.undefined[name]}"
            continue
        by_subject[name] = intervals.entry(figure)
        ends = intervals.interval(figure)
        if isinstance(ends, str):
            no_interval[name] = ends
    return {
        **{key: getattr(block, key) for key in KEYS},
        "images": len(cells),
        "subjects": len(cells.names),
        "ties": block.ties,
        "confusion": scores.confusion,
        "metrics": scores.metrics,
        "undefined": scores.undefined,
        "by_subject": by_subject,
        "no_interval": no_interval,
    }


def _image_level(persons: list[Block]) -> dict[str, Any] | None:
    """Intervals over subjects beside those of the usual mistake, which takes every cell for a person.

    Of one model only, the first vote, to say how wrong it is; None where subjects are images anyway.
    """
    block = next((block for block in persons if block.kind == "ensemble" and block.role == "test"), None)
    if block is None:
        return None
    table = block.cells.table
    alone = Cells.of(table.assign(subject=table["image"]), block.cells.dataset)
    mistaken = replace(block, cells=alone)
    return {
        "model": block.model,
        "metrics": {
            name: {"subjects": intervals.entry(figure), "images": intervals.entry(wrong)}
            for (name, figure), wrong in zip(
                intervals.figures(block).items(), intervals.figures(mistaken).values(), strict=True
            )
            if not np.isnan(figure.value)
        },
    }
