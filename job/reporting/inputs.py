"""What the report is made from: the files of `results/`, two summaries of the data, and the parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.contracts import paths
from job.files import existing, read_json
from job.params import Params
from job.reporting import text

Model = dict[str, Any]
HEADLINE = "balanced_accuracy"
"""The metric on which models are compared first."""


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
    def unit(self) -> str:
        """What counts once: a patient, or an image where nobody knows whose it is."""
        return "patient" if self.prepared.get("patients_known", True) else "image"

    @property
    def sizes_known(self) -> bool:
        """Whether cells have sizes: on another background than black most boxes are the whole image."""
        test = self.predictions[self.predictions["model"] == "baseline/area"]["p_" + self.classes[0]]
        return bool(len(test)) and test.value_counts(normalize=True).iloc[0] <= 0.5

    def models(self, *, role: str = "test", **values: str) -> list[Model]:
        """The evaluated models on the images of one role that hold these values by key, in the order of the file."""
        wanted = values | {"role": role}
        return [m for m in self.evaluation["models"] if all(m[key] == value for key, value in wanted.items())]

    def majority(self, method: str) -> Model:
        """The majority vote of a method's folds on the test images."""
        return self.models(kind="ensemble", method=method, rule="majority")[0]

    def outcome(self, model: Model) -> int | None:
        """The class number that a model predicts for every image; None where it predicts several."""
        counts = [sum(column) for column in zip(*model["confusion"], strict=True)]
        predicted = [number for number, count in enumerate(counts) if count]
        return predicted[0] if len(predicted) == 1 else None

    @property
    def telling(self) -> list[str]:
        """Methods whose vote tells cells apart: of the others there is nothing to show cell by cell.

        Of somebody else's predictions, which know no methods, the models that do.
        """
        named = {method: self.majority(method) for method in self.methods}
        named = named or {model["model"]: model for model in self.models()}
        return [name for name, model in named.items() if self.outcome(model) is None]

    @property
    def collapsed(self) -> list[str]:
        """Methods whose vote predicts one class for every test image."""
        return [method for method in self.methods if method not in self.telling]

    def slug(self, name: str) -> str:
        """A method's part of an address. Somebody else's models are numbered: their names may be of any writing."""
        return text.slug(name) if self.methods else f"model-{[m['model'] for m in self.models()].index(name) + 1}"

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """The declared comparisons by metric, balanced accuracy first: rows of `results/differences.csv`."""
        table = self.differences.astype(object)
        rows: list[dict[Any, Any]] = table.where(table.notna(), None).to_dict("records")
        order = [HEADLINE, *text.METRICS]
        return sorted(rows, key=lambda row: order.index(row["metric"]))

    def compared(self, model: str, other: str) -> list[dict[str, Any]]:
        """The declared comparisons of two models, balanced accuracy first."""
        return [row for row in self.comparisons if (row["model"], row["other"]) == (model, other)]

    def verdicts(self, model: str, other: str, *openings: str) -> list[tuple[bool, str]]:
        """Whether declared comparisons show methods that tell cells apart to be better, and that in words.

        In `model`, `other` and the three `openings` (better, worse, neither) a method's name is to be put; of the
        openings the one is taken that holds after the correction for all comparisons.
        """
        return [
            self._verdict(*rows, openings=[opening.format(text.method_name(method)) for opening in openings])
            for method in self.telling
            if (rows := self.compared(model.format(method), other.format(method)))
        ]

    def _verdict(self, row: dict[str, Any], *more: dict[str, Any], openings: Sequence[str]) -> tuple[bool, str]:
        """On `row`; where it shows nothing, what of `more` is shown is said too."""
        better, worse, neither = openings
        alike = row["subjects"] - row["positive"] - row["negative"]
        found = f"{text.points(row['difference'])} points of balanced accuracy; better in {row['positive']:.0f} "
        found += f"{self.unit}s, equal in {alike:.0f}, worse in {row['negative']:.0f}"
        if row["p_holm"] is None:
            return False, f"{neither}: {found}; too few {self.unit}s, or none that differs, to tell it from chance."
        tested = f"({_interval(row)}, corrected for {self.differences['p'].count()} comparisons)."
        if row["p_holm"] > 0.05:
            shown = [
                f" In {label if label.isupper() else label.lower()} a difference is shown: "
                f"{text.points(one['difference'])} points ({_interval(one)})."
                for one in more
                for label in [text.METRICS[one["metric"]].label]
                if one["p_holm"] is not None and one["p_holm"] <= 0.05
            ]
            return False, f"{neither}: {found}, which can be chance {tested}{''.join(shown)}"
        return row["difference"] > 0, f"{better if row['difference'] > 0 else worse}: {found} {tested}"

    def area(self) -> Model | None:
        """The baseline that sees cell size alone, if it was evaluated."""
        return next(iter(self.models(model="baseline/area")), None)

    def rows_of(self, model: str) -> pd.DataFrame:
        """The test images of one model, by image."""
        table = self.predictions
        return table[(table["model"] == model) & (table["role"] == "test")].set_index("image")

    def cells_of(self, method: str) -> pd.DataFrame:
        """One row per test image of a method with a vote, or of somebody else's model, which has no votes.

        Columns: patient, label, `predicted` by the majority, `mean_predicted` by the mean probability, `correct`, the
        `votes` for the predicted class among `voters`, and the mean probabilities `p_predicted` and `p_positive` (with
        more than two classes that of the true one).
        """
        names = (f"{method}/majority", f"{method}/mean") if self.methods else (method, method)
        votes, mean = map(self.rows_of, names)
        mean = mean.reindex(votes.index)
        every = np.arange(len(votes))
        probability = mean[[f"p_{name}" for name in self.classes]].to_numpy()
        counts = votes[[f"votes_{name}" for name in self.classes]].replace("", 0).to_numpy().astype(int)
        predicted = [self.classes.index(name) for name in votes["predicted"]]
        truth = [self.classes.index(name) for name in votes["label"]]
        positive = self.evaluation["positive"]
        return votes[["patient", "label"]].assign(
            predicted=votes["predicted"],
            mean_predicted=mean["predicted"],
            correct=votes["predicted"] == votes["label"],
            votes=counts[every, predicted],
            voters=counts.sum(axis=1),
            p_predicted=probability[every, predicted],
            p_positive=probability[every, truth if positive is None else self.classes.index(positive)],
        )


def _interval(row: dict[str, Any]) -> str:
    p = ("p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.2g}").replace(" ", "\N{NO-BREAK SPACE}")
    return f"95 % interval by itself {text.points(row['low'])} to {text.points(row['high'])}; {p}"


def per_patient(model: Model, metric: str) -> tuple[float | None, float | None, float | None]:
    """A metric averaged over the patients of a class, and the ends of its 95 % interval; None where there is none."""
    entry = model["by_subject"].get(metric, {})
    return entry.get("value"), entry.get("low"), entry.get("high")


def read(params: Params) -> ReportInputs:
    """Read the inputs of the report; a UserError names a file that is missing."""
    evaluation = read_json(paths.EVALUATION)
    return ReportInputs(
        params=params,
        evaluation=evaluation,
        predictions=_names(paths.RESULT_PREDICTIONS),
        history=pd.read_csv(existing(paths.HISTORY)),
        split=read_json(paths.SPLIT_FACTS),
        prepared=read_json(paths.SUMMARY),
        differences=pd.read_csv(existing(paths.DIFFERENCES), dtype={"model": str, "other": str}),
        cells=[existing(paths.CELLS.absolute() / f"{number}.png") for number in range(len(evaluation["classes"]))]
        if params.report.publish_images
        else [],
        gallery=_gallery(params),
    )


def _names(path: Path) -> pd.DataFrame:
    """A table whose names stay text: a patient may be called "NA" or "007". Only numbers can be missing."""
    columns = pd.read_csv(existing(path), nrows=0).columns
    numeric = [name for name in columns if name in {"row", "of"} or name.startswith(("p_", "votes_"))]
    kinds = {name: str for name in columns if name not in numeric}
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=dict.fromkeys(numeric, ""))


def _gallery(params: Params) -> Gallery | None:
    folder = paths.EXPLANATIONS
    if not folder.is_dir():
        return None
    pixels = np.load(existing(paths.PIXELS), mmap_mode="r") if params.report.publish_images else None
    return Gallery(_names(folder / "cells.csv"), np.load(folder / "maps.npy"), pixels)
