"""Stage `ensemble`: the folds of one method checked, pooled and put to the vote."""

from pathlib import Path

from job import files, params
from job.evaluation import pooling
from job.evaluation.reading import read_dataset
from job.evaluation.split import read_split


def run(method: str) -> str:
    """Write ensembles/METHOD/{predictions.csv, ensemble.json} from predictions/METHOD/fold-K.csv of every fold.

    Raises:
        UserError: a file is missing, wrong, or belongs to another split.
    """
    folds = sorted(params.load().folds)
    dataset = read_dataset(Path("data/prepared/summary.json"))
    split = read_split(Path("data/split.csv"), dataset)
    predictions = {
        fold: pooling.read_fold(Path("predictions", method, f"fold-{fold}.csv"), fold, split, dataset) for fold in folds
    }
    table = pooling.pool(predictions, dataset)
    tied = table[(table["rule"] == "majority") & table["tie"]]
    ties = {role: int((tied["role"] == role).sum()) for role in pooling.VOTED}
    members = [
        {
            "fold": fold,
            "weights_sha256": files.read_json(Path("runs", method, f"fold-{fold}", "model.json"))["weights_sha256"],
        }
        for fold in folds
    ]
    output = Path("ensembles", method)
    files.write_text(output / "predictions.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_json(output / "ensemble.json", {
        "method": method,
        "classes": list(dataset.classes),
        "members": members,
        "rule": "majority",
        "tie_break": "mean probability",
        "ties": ties,
    })  # fmt: skip
    voted = {role: int(((table["rule"] == "majority") & (table["role"] == role)).sum()) for role in pooling.VOTED}
    return (
        f"{method}: {len(folds)} folds voted on {voted['test']} test and {voted['unlabelled']} unlabelled images "
        f"({sum(ties.values())} ties), and {(table['rule'] == 'out_of_fold').sum()} validation images were pooled"
    )
