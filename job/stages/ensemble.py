"""Stage `ensemble`: the folds of one method checked, pooled and put to the vote."""

from typing import Any

import pandas as pd

from job import files, params
from job.contracts import paths
from job.contracts.dataset import read_dataset
from job.contracts.predictions import read_fold
from job.contracts.split import read_split
from job.contracts.tables import REMEDY
from job.errors import UserError
from job.evaluation import votes


def run(method: str) -> str:
    """Write ensembles/METHOD/{predictions.csv, ensemble.json} from predictions/METHOD/fold-K.csv of every fold."""
    folds = sorted(params.load().folds)
    dataset = read_dataset(paths.SUMMARY)
    split = read_split(paths.SPLIT, dataset.classes)
    facts = {fold: files.read_json(paths.run(method, fold) / "model.json") for fold in folds}
    _check_alike(method, facts)
    predictions = {fold: read_fold(paths.predictions(method, fold), fold, split, dataset) for fold in folds}
    temperature = votes.temperature(predictions, split, dataset)
    table = votes.pool(predictions, temperature, dataset)
    majority = table[table["rule"] == "majority"]
    output = paths.ensemble(method)
    files.write_text(output / "predictions.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_json(
        output / "ensemble.json",
        {
            "method": method,
            "classes": list(dataset.classes),
            "members": [{"fold": fold, "weights_sha256": facts[fold]["weights_sha256"]} for fold in folds],
            "rule": "majority",
            "tie_break": "mean probability",
            "views": _views(method, predictions),
            "temperature": temperature,
        },
    )
    voted = {role: int((majority["role"] == role).sum()) for role in votes.VOTED}
    return (
        f"{method}: {len(folds)} folds voted on {voted['test']} test and {voted['unlabelled']} unlabelled images "
        f"({majority['tie'].sum()} ties), and {(table['role'] == 'validation').sum()} validation images were pooled"
    )


def _check_alike(method: str, facts: dict[int, dict[str, Any]]) -> None:
    """Refuse folds that were trained with different parameters, as their `model.json` says."""
    # A row per fold, and a column per parameter, such as train.epochs.
    settings = pd.json_normalize([own["parameters"] for own in facts.values()]).astype(str).set_axis(list(facts))
    first = settings.index[0]
    for fold, own in settings.iterrows():
        if different := settings.columns[own != settings.loc[first]].tolist():
            again = f"dvc repro --force --no-run-cache --single-item train@{method}-"
            raise UserError(
                f"folds {first} and {fold} of {method} were trained with different parameters "
                f"({', '.join(different)}): train the one that differs from params.yaml again (`{again}{first}` or "
                f"`…{fold}`), then run `dvc repro`"
            )


def _views(method: str, predictions: dict[int, pd.DataFrame]) -> int:
    """Over how many views of an image every probability is a mean: 8 with `predict.tta`, else 1."""
    views = {int(number) for table in predictions.values() for number in table["views"]}
    if views not in ({1}, {8}):
        numbers = ", ".join(map(str, sorted(views)))
        raise UserError(
            f"predictions/{method}: column 'views' must be 1 in all files or 8 in all files, not {numbers}: {REMEDY}"
        )
    return views.pop()
