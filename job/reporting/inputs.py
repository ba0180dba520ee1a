"""What the report is made from: the files of `results/`, two summaries of the data, and the parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.errors import UserError
from job.files import existing, read_json
from job.params import Params
from job.reporting.pseudonyms import pseudonymous

Model = dict[str, Any]


@dataclass(frozen=True)
class Gallery:
    """The chosen cells of stage `explain`.

    `cells` is `results/explanations/cells.csv`; `maps` (cells, h, w) uint8 holds their activation maps, and `pixels`
    (N, S, S, 3) uint8 every prepared image, of which `cells["row"]` names one; None where pictures may not be shown.
    """

    cells: pd.DataFrame
    maps: npt.NDArray[np.uint8]
    pixels: npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class ReportInputs:
    """Everything a page may show.

    `evaluation`, `split` and `prepared` are the parsed `results/evaluation.json`, `data/split.json` and
    `data/prepared/summary.json`; `predictions`, `history` and `differences` the tables `results/predictions.csv`,
    `results/history.csv` and `results/differences.csv`; `cells` a strip of cells per class, none where no image may be
    shown; `gallery` is None where no cells were chosen, as for predictions of somebody else.
    """

    params: Params
    evaluation: dict[str, Any]
    predictions: pd.DataFrame
    history: pd.DataFrame
    split: dict[str, Any]
    prepared: dict[str, Any]
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)
    cells: list[Path] = field(default_factory=list)
    gallery: Gallery | None = None

    @property
    def classes(self) -> list[str]:
        """Class names in class order."""
        return list(self.evaluation["classes"])

    @property
    def methods(self) -> list[str]:
        """Methods that were evaluated, in the order of the parameters."""
        return list(self.evaluation["methods"])

    @property
    def synthetic(self) -> bool:
        """Whether the images were drawn by the `demo` stage."""
        return bool(self.evaluation["synthetic"])

    def models(
        self, *, kind: str, method: str | None = None, rule: str | None = None, role: str = "test"
    ) -> list[Model]:
        """The evaluated models of one kind on the images of one role, in the order of the file."""
        return [
            model
            for model in self.evaluation["models"]
            if model["kind"] == kind
            and model["role"] == role
            and (method is None or model["method"] == method)
            and (rule is None or model["rule"] == rule)
        ]

    def majority(self, method: str) -> Model | None:
        """The majority vote of a method's folds on the test images, if it was evaluated."""
        return next(iter(self.models(kind="ensemble", method=method, rule="majority")), None)

    def difference(self, model: str, other: str, metric: str) -> dict[str, float | None]:
        """`difference` of a metric between two models on the test images, and `low` and `high`; None where unknown."""
        keys = ("difference", "low", "high")
        for one, two, sign in ((model, other, 1), (other, model, -1)):
            table = self.differences
            rows = table[(table["model"] == one) & (table["other"] == two) & (table["metric"] == metric)]
            if len(rows):
                values = [sign * float(rows.iloc[0][key]) for key in keys]
                ends = sorted(values[1:])
                return {k: None if math.isnan(v) else v for k, v in zip(keys, [values[0], *ends], strict=True)}
        return dict.fromkeys(keys)

    def area(self) -> Model | None:
        """The baseline that sees cell size alone, if it was evaluated."""
        return next((model for model in self.models(kind="baseline") if model["model"] == "baseline/area"), None)


def read(
    params: Params, results: Path = Path("results"), split: Path = Path("data/split.json"),
    prepared: Path = Path("data/prepared"),
) -> ReportInputs:  # fmt: skip
    """Read the inputs of the report. With `report.pseudonyms` every name of a patient or file is replaced here.

    Raises:
        UserError: a file is missing; the stage that writes it is named.
    """
    writers = {
        results / "evaluation.json": "evaluate",
        results / "predictions.csv": "evaluate",
        results / "history.csv": "evaluate",
        results / "differences.csv": "evaluate",
        split: "split",
        prepared / "summary.json": "prepare",
    }
    for path, stage in writers.items():
        if not path.is_file():
            raise UserError(f"{path} does not exist: run `dvc repro {stage}`, which writes it")
    evaluation = read_json(results / "evaluation.json")
    # A patient may be called "NA" or "007": names stay text, and only numeric columns have missing values.
    names = (
        "model",
        "method",
        "kind",
        "rule",
        "role",
        "fold",
        "iteration",
        "image",
        "patient",
        "subject",
        "label",
        "predicted",
    )
    predictions = pd.read_csv(results / "predictions.csv", dtype=dict.fromkeys(names, str), keep_default_na=False)
    found = ReportInputs(
        params=params,
        evaluation=evaluation,
        predictions=predictions,
        history=pd.read_csv(results / "history.csv"),
        split=read_json(split),
        prepared=read_json(prepared / "summary.json"),
        differences=pd.read_csv(results / "differences.csv", dtype={"model": str, "other": str}),
        cells=_cells(params, prepared.absolute() / "cells", len(evaluation["classes"])),
        gallery=_gallery(params, results / "explanations", prepared / "images.npy"),
    )
    return pseudonymous(found) if params.report.pseudonyms else found


def _cells(params: Params, folder: Path, classes: int) -> list[Path]:
    if not params.report.publish_images:
        return []
    return [existing(folder / f"{number}.png") for number in range(classes)]


def _gallery(params: Params, folder: Path, images: Path) -> Gallery | None:
    if not folder.is_dir():
        return None
    text = dict.fromkeys(("method", "group", "label", "called", "image"), str)
    cells = pd.read_csv(folder / "cells.csv", dtype=text, keep_default_na=False)
    pixels = np.load(existing(images), mmap_mode="r") if params.report.publish_images else None
    return Gallery(cells, np.load(folder / "maps.npy"), pixels)
