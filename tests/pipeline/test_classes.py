"""Anybody's cells through the whole pipeline: three classes, every method, from a table of labels or from folders."""

import json

import pandas as pd
import pytest

from job.params import METHODS
from tests.fixtures import three_classes
from tests.pipeline import repository


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["csv", "folders"])
def test_three_classes_go_through_every_stage_and_method(tmp_path, layout):
    folder = repository.create(tmp_path / "repository")
    if layout == "csv":
        root = three_classes.write_csv(tmp_path / "cells", patients=18)
    else:
        root = three_classes.write_folders(tmp_path / "cells", images=15)
    repository.change(folder, {
        "methods": list(METHODS), "data": {"root": str(root), "pixels": 32, "crop": 0},
        "split": {"test": "official" if layout == "csv" else "fraction", "folds": 2}, "model": {"weights": "none"},
    })  # fmt: skip
    repository.run(folder, "dvc", "repro")
    evaluation = json.loads((folder / "results/evaluation.json").read_text())
    assert evaluation["classes"] == list(three_classes.CLASSES)
    assert evaluation["positive"] is None
    columns = [f"p_{name}" for name in three_classes.CLASSES]
    for method in METHODS:
        said = pd.read_csv(folder / f"ensembles/{method}/predictions.csv")
        assert ((said.loc[said["rule"] == "mean", columns].sum(axis=1) - 1).abs() < 1e-5).all()
        vote = next(model for model in evaluation["models"] if model["model"] == f"{method}/majority")
        assert 0 <= vote["metrics"]["balanced_accuracy"] <= 1
    pages = {path.name for path in (folder / "site").glob("*.html")}
    assert {"index.html", "data.html", "performance.html", "self-training.html", "errors.html"} <= pages
    overview = (folder / "site/index.html").read_text(encoding="utf-8")
    assert ("Patients unknown." in overview) == (layout == "folders")
