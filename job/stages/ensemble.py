"""Stage `ensemble`: the folds of one method checked, pooled and put to the vote."""

import pandas as pd

from job import files, params
from job.contracts import paths
from job.contracts.dataset import read_dataset
from job.contracts.predictions import read_fold
from job.contracts.split import read_split
from job.contracts.tables import REMEDY, class_indices
from job.errors import UserError
from job.evaluation import calibration, pooling
from job.evaluation.pooling import VOTED


def run(method: str) -> str:
    """Write ensembles/METHOD/{predictions.csv, ensemble.json} from predictions/METHOD/fold-K.csv of every fold.

    Raises:
        UserError: a file is missing, wrong, or belongs to another split, or the folds were not predicted alike.
    """
    folds = sorted(params.load().folds)
    dataset = read_dataset(paths.SUMMARY)
    split = read_split(paths.SPLIT, dataset.classes)
    predictions = {fold: read_fold(paths.predictions(method, fold), fold, split, dataset) for fold in folds}
    skills = pooling.skills(predictions, split, dataset)
    validation = pooling.out_of_fold(predictions)
    labels = split.train().set_index("image").loc[validation["image"]].reset_index()
    temperature = calibration.fit_temperature(
        validation[dataset.probability_columns].to_numpy(), class_indices(split.path, labels, "label", dataset.classes)
    )
    table = pooling.pool(predictions, skills, temperature, dataset)
    ties = {
        rule: {role: int(table.loc[(table["rule"] == rule) & (table["role"] == role), "tie"].sum()) for role in VOTED}
        for rule in pooling.RULES
    }
    members = [
        {
            "fold": fold,
            "weight": float(skill),
            "weights_sha256": files.read_json(paths.run(method, fold) / "model.json")["weights_sha256"],
        }
        for fold, skill in zip(folds, skills, strict=True)
    ]
    output = paths.ensemble(method)
    files.write_text(output / "predictions.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_json(output / "ensemble.json", {
        "method": method,
        "classes": list(dataset.classes),
        "members": members,
        "rule": "majority",
        "tie_break": "mean probability",
        "views": _views(method, predictions),
        "temperature": temperature,
        "ties": ties,
    })  # fmt: skip
    voted = {role: int(((table["rule"] == "majority") & (table["role"] == role)).sum()) for role in VOTED}
    pooled = int((table["rule"] == "out_of_fold").sum())
    return (
        f"{method}: {len(folds)} folds voted on {voted['test']} test and {voted['unlabelled']} unlabelled images "
        f"({sum(ties['majority'].values())} ties), and {pooled} validation images were pooled"
    )


def _views(method: str, predictions: dict[int, pd.DataFrame]) -> int:
    """Over how many views of an image every probability is a mean: 8 with `predict.tta`, else 1."""
    found = {int(views) for table in predictions.values() for views in table["views"]}
    if found not in ({1}, {8}):
        said = ", ".join(map(str, sorted(found)))
        raise UserError(
            f"predictions/{method}: column 'views' must be 1 in all files or 8 in all files, not {said}: {REMEDY}"
        )
    return found.pop()
