"""The tables of `make study`: what the finished experiments say about images that their networks have not seen."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd
from ruamel.yaml import YAML
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from benchmarks.comparison import Comparison
from benchmarks.experiments import Clone
from job.contracts.dataset import Dataset, read_dataset

ALONE = "labelled alone"
STEPS = "labelled alone, a student's steps"
NOISE = "labelled alone, a student's steps and noise"
CONTROLS = {ALONE: "less labelled alone", STEPS: "less the same steps", NOISE: "less the same steps and noise"}
"""What every arm of self-training is compared with, and the column of the difference."""
SIZE = "baseline/area"


def choice(clone: Clone, names: Mapping[str, Mapping[str, str]], reference: str = "size") -> pd.DataFrame:
    """A row per candidate, and one for the cell's size.

    AUROC per cell on each held-out official fold, their mean, and what validation promised; then per patient over the
    held-out patients of all folds, with 95 % intervals, and less the reference: another candidate, or the size.
    """
    held_out: dict[str, list[pd.DataFrame]] = {}
    rows = []
    for candidate, by_fold in names.items():
        tables = {fold: _predictions(clone, name) for fold, name in by_fold.items()}
        model = f"{next(iter(tables.values()))['method'].dropna().iloc[0]}/fold-1"
        tests = {fold: _test(table, model) for fold, table in tables.items()}
        promised = [_auroc(of[(of["kind"] == "out_of_fold") & (of["role"] == "validation")]) for of in tables.values()]
        sizes = {fold: _test(table, SIZE) for fold, table in tables.items()}
        held_out |= {candidate: [_joined(tests)], SIZE: [_joined(sizes)]}
        rows.append(_by_fold(candidate, tests) | {"promised": sum(promised) / len(promised)})
    if not rows:
        return pd.DataFrame()
    comparison = Comparison(held_out, _dataset(clone))
    other = SIZE if reference == "size" else reference
    pairs = [(candidate, other) for candidate in names if candidate != other]
    differences = comparison.differences(pairs, "auroc")
    for row in [*rows, size := _by_fold("size alone", sizes)]:
        model = SIZE if row is size else str(row["candidate"])
        row |= {f"per patient, {key}": value for key, value in comparison.figure(model, "auroc").items()}
        if found := differences.get((model, other)):
            less = f"less {reference}"
            row |= {less: found.value, f"{less}, low": found.low, f"{less}, high": found.high}
            row |= {f"{less}, p (Holm)": found.p_holm}
    return pd.DataFrame([*rows, size])


def _by_fold(candidate: str, tests: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """AUROC per cell of each held-out fold, and their mean."""
    by_fold = {fold: _auroc(table) for fold, table in tests.items()}
    return {"candidate": candidate, **by_fold, "auroc": sum(by_fold.values()) / len(by_fold)}


def systems(clone: Clone, names: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """A row per test set and model: figures per cell, and per patient with 95 % intervals over subjects.

    Out of fold is what each network says of the training images that it has not learned from.
    """
    rows = []
    for (where, arm), name in names.items():
        everything = _predictions(clone, name)
        table = everything[everything["role"] == "test"]
        fold_of = _table(clone, name, "data/split.csv").set_index("image")["fold"]
        if arm == "linear probe":
            rows.append({"test set": where, "system": "size alone"} | _figures(clone, table[table["model"] == SIZE]))
        for method in table.loc[table["kind"] == "fold", "method"].unique():
            of = table[table["method"] == method]
            label = f"{arm}: {method.replace('_', ' ')}"
            folds = [_per_cell(rows) for _, rows in of[of["kind"] == "fold"].groupby("model")]
            mean = pd.DataFrame(folds).mean().to_dict()
            rows.append({"test set": where, "system": f"{label}, mean of {len(folds)} folds"} | mean)
            rows += [
                {"test set": where, "system": f"{label}, {rule}"}
                | _figures(clone, of[of["model"] == f"{method}/{rule}"])
                for rule in ("majority", "mean")
            ]
            held_in = everything.query("kind == 'out_of_fold' and method == @method and role == 'validation'")
            held_in = held_in.assign(network=held_in["image"].map(fold_of))
            rows.append({"test set": where, "system": f"{label}, out of fold"} | _figures(clone, held_in))
    return pd.DataFrame(rows)


def steps_of_a_student(clone: Clone, name: str) -> float:
    """Steps of an epoch over the masked images, a student's, for each of one over the labelled images, its control's.

    Patients are masked as a whole, so this is not the ratio of the shares: it is counted in the experiment's split.
    """
    of_fold = _table(clone, name, "data/split.csv").query("role == 'train' and fold != 1")["half"].value_counts()
    batch = YAML(typ="safe").load(clone.read(name, "params.yaml"))["train"]["batch_size"]
    return math.ceil(of_fold["masked"] / batch) / math.ceil(of_fold["labelled"] / batch)


def self_training(clone: Clone, names: Mapping[str, Sequence[Sequence[str]]]) -> pd.DataFrame:
    """A row per arm: AUROC per patient over the held-out folds and seeds, and less each control.

    With one seed there is no p: the error of another training is not known.
    """
    predictions = {
        arm: [_joined({name: _of_one_fold(clone, name) for name in folds}) for folds in seeds]
        for arm, seeds in names.items()
    }
    comparison = Comparison(predictions, _dataset(clone))
    pairs = [(arm, other) for other, arm in combinations(names, 2) if other in CONTROLS]
    differences = comparison.differences(pairs, "auroc")
    rows = []
    for arm, seeds in names.items():
        row: dict[str, object] = {"arm": arm, "seeds": len(seeds), **comparison.figure(arm, "auroc")}
        for other, less in CONTROLS.items():
            if found := differences.get((arm, other)):
                row |= {less: found.value, f"{less}, low": found.low, f"{less}, high": found.high}
                row |= {f"{less}, p (Holm)": found.p_holm} if len(seeds) > 1 else {}
        rows.append(row)
    return pd.DataFrame(rows)


def trace(clone: Clone, names: Mapping[str, Sequence[Sequence[str]]]) -> pd.DataFrame:
    """A row per arm, held-out fold and turn of self-training: share of correct pseudo-labels, and how sure they are."""
    rows = []
    for arm, name in ((arm, name) for arm, seeds in names.items() for folds in seeds for name in folds):
        for turn in json.loads(clone.read(name, "results/evaluation.json"))["self_training"]:
            facts = {key: turn[key] for key in ("iteration", "images", "correct", "share_positive", "kept")}
            truth = turn["balance"]["truth"][1] / sum(turn["balance"]["truth"])  # of the final part nobody knows it
            confidence = turn["confidence"]["mean"]
            rows.append({"arm": arm, "experiment": name} | facts | {"share_all": truth, "confidence": confidence})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table for docs/results.md."""
    cells = table.map(lambda value: f"{value:.3f}" if isinstance(value, float) else str(value)).replace(
        ["nan", "<NA>"], "–"
    )
    lines = [list(cells.columns), ["---"] * len(cells.columns), *cells.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _predictions(clone: Clone, name: str) -> pd.DataFrame:
    return _table(clone, name, "results/predictions.csv")


def _table(clone: Clone, name: str, path: str) -> pd.DataFrame:
    text = dict.fromkeys(("image", "subject", "label", "model", "method", "role", "rule", "half", "pool"), str)
    return pd.read_csv(io.StringIO(clone.read(name, path)), dtype=text)


def _joined(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What several networks say of a part of the images each."""
    return pd.concat([table.assign(network=name) for name, table in parts.items()], ignore_index=True)


def _test(table: pd.DataFrame, model: str) -> pd.DataFrame:
    return table[(table["model"] == model) & (table["role"] == "test")]


def _of_one_fold(clone: Clone, name: str) -> pd.DataFrame:
    table = _predictions(clone, name)
    return table[(table["role"] == "test") & (table["kind"] == "fold")]


def _dataset(clone: Clone) -> Dataset:
    return read_dataset(clone.repository / "data/prepared/summary.json")


def _auroc(table: pd.DataFrame) -> float:
    return float(roc_auc_score(table["label"] == "ALL", table["p_ALL"]))


def _per_cell(table: pd.DataFrame) -> dict[str, float]:
    """Figures in which every cell counts once, as the published tables have them."""
    truth, predicted = table["label"], table["predicted"]
    return {
        "accuracy": accuracy_score(truth, predicted),
        "weighted F1": f1_score(truth, predicted, average="weighted"),
        "sensitivity": recall_score(truth, predicted, pos_label="ALL"),
        "specificity": recall_score(truth, predicted, pos_label="HEM"),
        "AUROC": _auroc(table),
    }


def _figures(clone: Clone, table: pd.DataFrame) -> dict[str, float | None]:
    """Per cell, and AUROC and balanced accuracy per patient with intervals.

    Of several networks it is their mean, but for the balanced accuracy per patient: their calls are on one scale.
    """
    parts = [part for _, part in table.groupby("network")] if "network" in table else [table]
    result: dict[str, float | None] = pd.DataFrame([_per_cell(part) for part in parts]).mean().to_dict()
    comparison = Comparison({"": [table]}, _dataset(clone))
    for metric, name in (("auroc", "AUROC per patient"), ("balanced_accuracy", "balanced accuracy per patient")):
        figure = comparison.figure("", metric)
        result |= {name: figure["value"], f"{name}, low": figure["low"], f"{name}, high": figure["high"]}
    return result
