"""What a finished ensemble uses and how steady its calls are: `python -m benchmarks.steadiness FOLDER --root DIR`.

FOLDER is `ensembles/METHOD` of a finished run, in the place where the pipeline has it; DIR is the folder of its images.
Tables, printed and written to `benchmarks/steadiness/`, all of cells that the networks did not learn from: AUROC among
cells of equal size, and of equal brightness, on the test set and out of fold, the spread between patients, errors that
folds share, and calls that flip when a picture changes in ways that mean nothing (`benchmarks/changes.py`). With
`--originals`, also between originals and the files of DIR that carry their names; each is judged by the folds that did
not learn from it.

Half a minute of one core for 400 cells and three folds at 64 px. Five folds at 96 px with `predict.tta` compute thirty
times as much: some ten minutes.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score

from benchmarks import changes
from benchmarks.comparison import Comparison
from benchmarks.study_tables import markdown
from job.contracts.dataset import BACKGROUND, Dataset
from job.data import images, layouts
from job.errors import UserError
from job.files import existing, read_json
from job.seeds import generator

RESULTS = Path(__file__).with_suffix("")
FIFTHS = 5
CUES = {"size": "px", "light": "of 255"}
"""What a network could go by without looking into a cell: the area of its box, and the mean level of its pixels."""
MATCHED = 0.05
"""Largest relative difference of two cells that count as equally large, or bright."""
SHOWN = 5


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the method, the classes, and `results/predictions.csv` of the method alone."""

    folder: Path
    method: str
    dataset: Dataset
    predictions: pd.DataFrame

    def unseen(self, images: Sequence[str], members: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Whether each fold did not learn from each image: (folds, images)."""
        split = pd.read_csv(existing(self.folder / "data/split.csv"), dtype={"image": str}).set_index("image")
        rows = split.reindex(images)
        kept_out = rows["role"].isin(["test", "left_out"])
        return np.array([kept_out | ((rows["role"] == "train") & (rows["fold"] == fold)) for fold in members])

    def of(self, rule: str, role: str = "test") -> pd.DataFrame:
        """Predictions of a vote for the images of a role, a row per image."""
        chosen = self.predictions["model"] == f"{self.method}/{rule}"
        return self.predictions[chosen & (self.predictions["role"] == role)].reset_index(drop=True)


def main() -> int:
    """Write and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steadiness", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="ensembles/METHOD of a finished run")
    parser.add_argument("--root", type=Path, required=True, help="folder of the images, the data.root of that run")
    parser.add_argument("--originals", type=Path, help="folder with some of the same images in another format")
    parser.add_argument("--cells", type=int, default=400, help="test cells that are changed, drawn at random")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSV files")
    options = parser.parse_args()
    try:
        run = opened(options.folder.resolve())
        root, originals = (path and path.resolve() for path in (options.root, options.originals))
        test = with_cues(run.of("majority"), root, run.dataset)
        options.out.mkdir(parents=True, exist_ok=True)
        held_in = with_cues(run.of("out_of_fold", "validation"), root, run.dataset)
        for cue in CUES:
            write(options.out, cue, among_equals(test, cue, run.dataset))
            write(options.out, f"{cue}_out_of_fold", among_equals(held_in, cue, run.dataset))
        people = patients(test)
        write(options.out, "patients", people, pd.concat([people[:SHOWN], people[SHOWN:][-SHOWN:]]))
        write(options.out, "errors", errors(run))
        ensemble = changes.Networks(run.folder, run.method)
        chosen = np.sort(generator(2019, "steadiness").permutation(len(test))[: options.cells])
        table = changes.of_cells(ensemble, test.iloc[chosen], root)
        if originals:
            table = pd.concat([table, changes.of_files(ensemble, run.unseen, root, originals)], ignore_index=True)
        write(options.out, "changes", table)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def opened(folder: Path) -> Run:
    """Read what the stages `ensemble` and `evaluate` wrote.

    Raises:
        UserError: a file is missing, or there are more than two classes.
    """
    described = read_json(folder / "ensemble.json")
    classes = tuple(described["classes"])
    positive = layouts.positive(list(classes), "auto")
    if positive is None:
        raise UserError(f"{folder}: {len(classes)} classes, and these tables are of two")
    file = existing(folder.parents[1] / "results/predictions.csv")
    text = dict.fromkeys(("image", "patient", "subject", "label", "predicted"), str)
    table = pd.read_csv(file, dtype=text, keep_default_na=False, na_values={"fold": [""], "iteration": [""]})
    own = table[table["method"] == described["method"]]
    return Run(
        folder.parents[1], described["method"], Dataset("", synthetic=False, classes=classes, positive=positive), own
    )


def with_cues(test: pd.DataFrame, root: Path, dataset: Dataset) -> pd.DataFrame:
    """The test set with `p`, the probability of the positive class, and the `CUES` of each cell."""
    read = images.read_all([root / image for image in test["image"]], 96, 0, "image", ahead=16)
    cues = []
    for image, result in zip(test["image"], read, strict=True):
        if isinstance(result, str):
            raise UserError(f"--root {root}: {image}, a test image of the run, cannot be read: {result}")
        pixels, facts = result
        cell = pixels[pixels.max(axis=2) > BACKGROUND]
        cues.append({"size": facts.box[2] * facts.box[3], "light": float(cell.mean()) if len(cell) else 0.0})
    return test.assign(**pd.DataFrame(cues, index=test.index), p=test[f"p_{dataset.positive}"])


def among_equals(test: pd.DataFrame, cue: str, dataset: Dataset) -> pd.DataFrame:
    """AUROC among cells that are alike in a cue, beside that of the cue: per cell, and per patient with intervals."""
    ordered = test.sort_values([cue, "image"])
    fifths = [ordered.iloc[rows] for rows in np.array_split(np.arange(len(test)), FIFTHS)]
    named = {f"fifth {number}, {part[cue].min():,.0f} to {part[cue].max():,.0f} {CUES[cue]}": part
             for number, part in enumerate(fifths, start=1)}  # fmt: skip
    rows = [{"cells": name} | _row(part, cue, dataset) for name, part in named.items()]
    weights = [row[dataset.classes[0]] * row[dataset.classes[1]] for row in rows]
    within = {
        # A fifth of one class has no pairs, and so no figure and no weight.
        name: np.average([row.get(name, 0) for row in rows], weights=weights)
        for name in ("AUROC", f"of {cue}")
        if any(weights)
    }
    return pd.DataFrame([
        {"cells": "all"} | _row(test, cue, dataset), *rows,
        {"cells": "mean of the fifths, by pairs"} | {name: sum(row[name] for row in rows) for name in dataset.classes}
        | within,
        {"cells": f"pairs of equal {cue}, within {MATCHED:.0%}"} | _row(matched(test, cue, dataset), cue, dataset),
    ])  # fmt: skip


def _row(cells: pd.DataFrame, cue: str, dataset: Dataset) -> dict[str, Any]:
    positive = cells["label"] == dataset.positive
    other = next(name for name in dataset.classes if name != dataset.positive)
    row: dict[str, object] = {dataset.positive: int(positive.sum()), other: int((~positive).sum())}
    if positive.nunique() < 2:
        return row
    scores = {"AUROC": cells["p"], f"of {cue}": cells[cue].rank(pct=True)}
    row |= {name: roc_auc_score(positive, score) for name, score in scores.items()}
    columns = {
        name: [cells.assign(**{f"p_{dataset.positive}": score, f"p_{other}": 1 - score})]
        for name, score in scores.items()
    }
    comparison = Comparison(columns, dataset)
    for name in scores:
        row |= {f"{name}, per patient" if key == "value" else f"{key} ({name})": value
                for key, value in comparison.figure(name, "auroc").items()}  # fmt: skip
    difference = comparison.differences([("AUROC", f"of {cue}")], "auroc")["AUROC", f"of {cue}"]
    return row | {f"more than {cue}": difference.value, "low": difference.low, "high": difference.high}


def matched(test: pd.DataFrame, cue: str, dataset: Dataset) -> pd.DataFrame:
    """As many cells of either class, in pairs whose cue differs by at most `MATCHED`: the pairs with the least sum."""
    one, other = (test[test["label"] == name] for name in dataset.classes)
    logs = [np.log(part[cue].to_numpy(dtype=float)) for part in (one, other)]
    # A pair that is too different costs more than any number of others.
    cost = np.abs(logs[0][:, None] - logs[1])
    rows, columns = linear_sum_assignment(np.where(cost <= MATCHED, cost, 1e3))
    kept = cost[rows, columns] <= MATCHED
    return pd.concat([one.iloc[rows[kept]], other.iloc[columns[kept]]])


def patients(test: pd.DataFrame) -> pd.DataFrame:
    """Of every test patient the share of cells that are called right, worst first; sensitivity or specificity."""
    person = test["patient"].where(test["patient"] != "", test["subject"])
    groups = test.assign(right=test["label"] == test["predicted"]).groupby([test["label"], person.rename("patient")])
    table = groups.agg(
        cells=("right", "size"), called_right=("right", "mean"), mean_p=("p", "mean"), median_area=("size", "median")
    )
    return table.reset_index().sort_values(["called_right", "patient"], ignore_index=True)


def errors(run: Run) -> pd.DataFrame:
    """How often all folds are wrong about a cell, beside how often they would be if each erred for itself."""
    test = run.predictions[(run.predictions["kind"] == "fold") & (run.predictions["role"] == "test")]
    wrong = test.assign(wrong=test["label"] != test["predicted"]).pivot_table("wrong", ["label", "image"], "model")
    wrong = wrong.astype(bool)
    rows = []
    for name, part in [*wrong.groupby(level=0), ("all", wrong)]:
        # Within a class: that one class is harder than the other is nothing that the folds share.
        alone = sum(len(own) * own.mean().prod() for _, own in part.groupby(level=0)) / len(part)
        every, some = part.all(axis=1).mean(), part.any(axis=1).mean()
        rows.append({
            "label": name, "cells": len(part), "folds": part.shape[1], "wrong, mean of the folds": part.mean().mean(),
            "wrong in every fold": every, "if independent": alone, "wrong in some fold": some,
            "of these in every fold": every / some if some else None,
        })  # fmt: skip
    return pd.DataFrame(rows)


def write(folder: Path, name: str, table: pd.DataFrame, shown: pd.DataFrame | None = None) -> None:
    """A table as a CSV file, and as Markdown, or of it the rows that are `shown`."""
    path = folder / f"{name}.csv"
    path.write_text(table.to_csv(index=False, float_format="%.6f", lineterminator="\n"), encoding="utf-8")
    print(f"{path}\n\n{markdown(table if shown is None else shown)}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
