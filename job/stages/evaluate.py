"""Stage `evaluate`: the only one that reads truth.csv."""

from job import files, params
from job.contracts import paths
from job.contracts.dataset import read_dataset
from job.contracts.split import read_split
from job.evaluation import assembly, blocks, collect, comparisons, self_training


def run() -> str:
    """Write results/{predictions.csv, differences.csv, evaluation.json, summary.json, history.csv}."""
    settings = params.load()
    methods, folds = settings.methods, sorted(settings.folds)
    dataset = read_dataset(paths.SUMMARY)
    split = read_split(paths.SPLIT, dataset.classes)
    truth = blocks.read_truth(paths.TRUTH, split, dataset)
    index = collect.read_index(split)
    models, fitted = collect.blocks_of_run(methods, folds, split, index, truth)
    history = assembly.history(methods, folds)
    pseudo_labels = [
        {"method": method, **entry}
        for method in methods
        for fold in folds
        for entry in self_training.trace(paths.run(method, fold), fold, split, truth)
    ]

    students = [method for method in methods if any(m.kind == "iteration" and m.method == method for m in models)]
    pairs = comparisons.declared(methods, students, same_labels=settings.efficientnet.labels == "half")
    evidence, differences = assembly.assess(models, fitted, pairs, settings.evaluation)
    table2 = assembly.folds_on_test(evidence["models"], methods)
    predictions = blocks.predictions_table(models)
    files.write_text(paths.RESULT_PREDICTIONS, predictions.to_csv(index=False, lineterminator="\n"))
    files.write_text(paths.DIFFERENCES, differences.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    files.write_text(paths.HISTORY, history.to_csv(index=False, lineterminator="\n"))
    files.write_json(paths.HEADLINES, assembly.headlines(evidence["models"], methods))
    files.write_json(
        paths.EVALUATION,
        {
            **evidence,
            "methods": methods,
            "folds": folds,
            "distribution": assembly.distribution(split, index["patient"], truth),
            "table2": table2,
            "table3": assembly.side_by_side(evidence["models"], table2, methods),
            "self_training": pseudo_labels,
        },
    )
    positive = f"; positive class {evidence['positive']}" if evidence["positive"] else ""
    counts = f"{len(predictions)} predictions and {len(history)} epochs written"
    return f"{len(models)} sets of predictions scored, {counts}{positive}"
