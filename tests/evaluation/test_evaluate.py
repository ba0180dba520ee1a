"""The evaluate stage: every figure follows from its files, and wrong files are refused."""

import json
import shutil
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from job.errors import UserError
from job.stages import ensemble, evaluate
from tests.evaluation.recompute import assert_recomputes
from tests.evaluation.test_pooling import change, read, write
from tests.fixtures.run_tree import edit_params, run_evidence, write_run_tree

ROLES = ("test", "validation", "masked")
RULES = ("majority", "mean", "calibrated")
RESULTS = ("predictions.csv", "differences.csv", "evaluation.json", "summary.json", "history.csv")


@pytest.fixture
def report(evaluated):
    return json.loads((evaluated / "results" / "evaluation.json").read_text())


def test_the_figures_in_evaluation_json_are_what_scikit_learn_computes_from_predictions_csv(evaluated):
    results = evaluated / "results"
    assert assert_recomputes(results / "evaluation.json", results / "predictions.csv") > 400


@pytest.mark.parametrize(
    "place",
    [
        "models 3 metrics mcc",
        "models 3 by_subject auroc low",
        "calibration 0 temperature",
        "operating_points 1 points 1 at_prevalences 0 ppv value",
        "operating_points 1 points 0 at_prevalences 0 npv high",
    ],
)
def test_a_figure_that_does_not_follow_from_the_predictions_is_noticed(evaluated, tmp_path, place):
    results = evaluated / "results"
    report = json.loads((results / "evaluation.json").read_text())
    *path, last = [int(step) if step.isdecimal() else step for step in place.split()]
    entry = reduce(lambda part, step: part[step], path, report)
    entry[last] *= 1.001
    (tmp_path / "evaluation.json").write_text(json.dumps(report))
    shutil.copy(results / "differences.csv", tmp_path)
    with pytest.raises(AssertionError):
        assert_recomputes(tmp_path / "evaluation.json", results / "predictions.csv")


def test_a_difference_that_does_not_follow_from_the_predictions_is_noticed(evaluated, tmp_path):
    results = evaluated / "results"
    shutil.copy(results / "evaluation.json", tmp_path)
    table = pd.read_csv(results / "differences.csv")
    table.assign(p_holm=table["p_holm"] * 0.999).to_csv(tmp_path / "differences.csv", index=False)
    with pytest.raises(AssertionError):
        assert_recomputes(tmp_path / "evaluation.json", results / "predictions.csv")


@pytest.mark.parametrize(("classes", "folds"), [(("A", "B", "C"), (1, 2)), (("B", "A"), (1,))])
def test_other_classes_are_scored_by_name(tmp_path, classes, folds):
    write_run_tree(tmp_path, classes=classes, methods=("noisy_student",), folds=folds, iterations=1, unlabelled=0)
    run_evidence(tmp_path)
    results = tmp_path / "results"
    assert_recomputes(results / "evaluation.json", results / "predictions.csv")
    report = json.loads((results / "evaluation.json").read_text())
    assert report["classes"] == list(classes)
    assert {m["model"] for m in report["models"] if m["kind"] == "baseline"} == {
        "baseline/area", *(f"baseline/always_{name}" for name in classes),
    }  # fmt: skip


def test_every_model_of_the_contract_is_scored(report):
    expected = set()
    for method in ("efficientnet", "noisy_student"):
        expected |= {(f"{method}/fold-{k}", "fold", "test") for k in range(1, 4)}
        expected |= {(f"{method}/{rule}", "ensemble", "test") for rule in RULES}
        expected |= {(f"{method}/out_of_fold", "out_of_fold", "validation")}
    expected |= {(f"across/{rule}", "ensemble", "test") for rule in RULES}
    for k in range(1, 4):
        for i in range(3):
            expected |= {(f"noisy_student/fold-{k}/iteration-{i}", "iteration", role) for role in ROLES}
    expected |= {(f"baseline/{name}", "baseline", "test") for name in ("area", "always_HEM", "always_ALL")}
    assert {(m["model"], m["kind"], m["role"]) for m in report["models"]} == expected
    assert len(report["models"]) == len(expected)


def test_the_folds_model_is_the_last_student(report):
    models = {(m["model"], m["role"]): m for m in report["models"]}
    fold, student = models["noisy_student/fold-1", "test"], models["noisy_student/fold-1/iteration-2", "test"]
    assert fold["iteration"] == 2
    assert fold["metrics"] == student["metrics"]
    assert models["noisy_student/fold-1/iteration-0", "test"]["metrics"] != fold["metrics"]


def test_scored_truth_is_that_of_truth_csv(evaluated):
    truth = read(evaluated / "data/truth.csv").set_index("image")
    scored = read(evaluated / "results/predictions.csv")
    for column in ("patient", "subject", "label"):
        assert scored[column].tolist() == truth.loc[scored["image"], column].tolist()
    rows = read(evaluated / "data/split.csv").set_index("image")["row"]
    assert scored["row"].tolist() == rows[scored["image"]].tolist()
    assert list(scored.columns) == [
        "model", "method", "kind", "rule", "fold", "iteration", "role", "row", "image", "patient", "subject", "label",
        "p_HEM", "p_ALL", "predicted", "votes_HEM", "votes_ALL",
    ]  # fmt: skip
    assert ((scored["votes_ALL"] == "") == (scored["kind"] != "ensemble")).all()
    assert set(scored["role"]) == {"test", "validation", "masked"}


def test_distribution_counts_patients_subjects_and_images(evaluated, report):
    split, truth = read(evaluated / "data/split.csv"), read(evaluated / "data/truth.csv").set_index("image")
    rows = {(row["role"], row["label"]): row for row in report["distribution"]}
    assert len(rows) == len(report["distribution"]) == 5
    for role in ("train", "test"):
        for label in ("HEM", "ALL"):
            known = truth.loc[[i for i in split.loc[split["role"] == role, "image"] if truth.loc[i, "label"] == label]]
            counts = {
                "patients": known["patient"].nunique(),
                "subjects": known["subject"].nunique(),
                "images": len(known),
            }
            assert rows[role, label] == {"role": role, "label": label} | counts
    # Two HEM patients of the training images share an image and are one subject.
    assert rows["train", "HEM"]["patients"] == rows["train", "HEM"]["subjects"] + 1
    assert rows["unlabelled", None] == {
        "role": "unlabelled",
        "label": None,
        "patients": None,
        "subjects": 20,
        "images": 20,
    }


def test_table_3_sets_the_four_models_side_by_side(report):
    assert [row["name"] for row in report["table3"]] == [
        "EfficientNet models (mean of folds)", "Noisy Student models (mean of folds)",
        "EfficientNet ensemble (majority vote)", "Noisy Student ensemble (majority vote)",
    ]  # fmt: skip


def test_a_single_fold_has_no_variance(tmp_path):
    write_run_tree(tmp_path, methods=("efficientnet",), folds=(1,))
    run_evidence(tmp_path)
    report = json.loads((tmp_path / "results/evaluation.json").read_text())
    row = report["table2"]["efficientnet"]["accuracy"]
    assert row == {"folds": [row["mean"]], "mean": row["mean"], "variance": None}
    assert report["self_training"] == []


def test_summary_holds_headline_numbers_only(evaluated, report):
    summary = json.loads((evaluated / "results/summary.json").read_text())
    models = {m["model"]: m["metrics"] for m in report["models"]}
    voted = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")
    assert summary == {
        **{
            method: {
                "majority": {name: models[f"{method}/majority"][name] for name in voted},
                "mean": {"auroc": models[f"{method}/mean"]["auroc"]},
            }
            for method in ("efficientnet", "noisy_student")
        },
        "baseline": {"area": {name: models["baseline/area"][name] for name in ("auroc", "balanced_accuracy")}},
    }


def test_history_is_every_runs_curve_with_its_digits(evaluated):
    history = read(evaluated / "results/history.csv")
    assert list(history.columns[:4]) == ["method", "fold", "model", "epoch"]
    for (method, fold), rows in history.groupby(["method", "fold"]):
        own = read(evaluated / f"runs/{method}/fold-{fold}/history.csv")
        assert rows.drop(columns=["method", "fold"]).reset_index(drop=True).equals(own)
    assert len(history) == 3 * 4 + 3 * 3 * 4


def test_the_area_baseline_is_fitted_without_test_labels(tree):
    before = read(Path("results/predictions.csv"))
    truth, split = read(Path("data/truth.csv")), read(Path("data/split.csv"))
    tested = truth["image"].isin(split.loc[split["role"] == "test", "image"])
    truth.loc[tested, "label"] = np.where(truth.loc[tested, "label"] == "ALL", "HEM", "ALL")
    write(Path("data/truth.csv"), truth)
    evaluate.run()
    after = read(Path("results/predictions.csv"))
    columns = [name for name in before.columns if name != "label"]
    pd.testing.assert_frame_equal(before[columns], after[columns])
    assert (before["label"] != after["label"]).any()


def test_the_same_inputs_give_the_same_bytes(tree):
    before = {name: Path("results", name).read_bytes() for name in RESULTS}
    evaluate.run()
    assert {name: Path("results", name).read_bytes() for name in RESULTS} == before
    assert all(b"\r" not in content for content in before.values())


def test_a_patient_called_na_keeps_the_name(tree):
    for path in (Path("data/truth.csv"), Path("data/prepared/index.csv")):
        table = read(path)
        write(path, table.replace({"patient": {"H1": "NA", "A1": "007"}}))
    evaluate.run()
    assert {"NA", "007"} <= set(read(Path("results/predictions.csv"))["patient"])


def test_only_the_methods_and_folds_of_the_parameters_are_read(tree):
    edit_params(tree, methods=["efficientnet"], folds=[1, 3])
    ensemble.run("efficientnet")
    Path("predictions/noisy_student/fold-1.csv").unlink()
    evaluate.run()
    report = json.loads(Path("results/evaluation.json").read_text())
    assert {m["method"] for m in report["models"]} == {"efficientnet", None}
    assert {m["fold"] for m in report["models"]} == {1, 3, None}


PSEUDO = "runs/noisy_student/fold-3/iterations/2/pseudo_labels.csv"
ENSEMBLE = "ensembles/efficientnet/predictions.csv"


@pytest.mark.parametrize(
    ("path", "damage", "says"),
    [
        ("data/truth.csv", change("label", "BLAST"), "line 7, column 'label': 'BLAST' is not one of HEM, ALL"),
        ("data/truth.csv", lambda t: pd.concat([t, t.iloc[[0]]]), r"line \d+, column 'image': '.+' occurs twice"),
        ("data/truth.csv", lambda t: t.iloc[1:], r"a test image of data/split\.csv, is missing"),
        ("data/truth.csv", change("subject", "somebody"), r"has another subject than in data/split\.csv"),
        ("data/truth.csv", lambda t: t.assign(label=t["label"].replace({"HEM": "ALL", "ALL": "HEM"})),
         r"has another label than in data/split\.csv"),
        ("data/prepared/index.csv", change("box_w", "wide"), "line 7, column 'box_w': 'wide' is not a number"),
        (PSEUDO, change("label", "?"), r"line 7, column 'label': '\?' is not one of"),
        (PSEUDO, change("confidence", "sure"), "line 7, column 'confidence': 'sure' is not a number"),
        (PSEUDO, change("times", "0.5"), "line 7, column 'times': '0.5' is not a number"),
        (PSEUDO, lambda t: t.drop(columns="times"), "column 'times' is missing"),
        (PSEUDO, lambda t: t.iloc[1:], r"a pseudo-labelled image of fold 3 in data/split\.csv, is missing"),
        (ENSEMBLE, change("predicted", "?"), r"line 7, column 'predicted': '\?' is not one of"),
        (ENSEMBLE, lambda t: t[t["rule"] != "mean"], r"a test image in data/split\.csv, is missing"),
        ("runs/efficientnet/fold-1/history.csv", lambda t: t.drop(columns="epoch"), "column 'epoch' is missing"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_with_file_place_and_remedy(tree, path, damage, says):
    before = Path("results/evaluation.json").read_bytes()
    write(Path(path), damage(read(Path(path))))
    with pytest.raises(UserError, match=f"^{path}: .*{says}.*dvc repro"):
        evaluate.run()
    assert Path("results/evaluation.json").read_bytes() == before


def test_an_index_of_other_images_is_refused(tree):
    index = read(Path("data/prepared/index.csv"))
    write(Path("data/prepared/index.csv"), index.iloc[1:])
    with pytest.raises(UserError, match=r"data/split\.csv: .* is not in data/prepared/index\.csv: run `dvc repro`"):
        evaluate.run()


def test_a_data_set_summary_that_is_damaged_is_refused(tree):
    path = Path("data/prepared/summary.json")
    summary = json.loads(path.read_text())
    for content, says in (
        ("{", "not valid JSON"),
        (json.dumps({k: v for k, v in summary.items() if k != "classes"}), "key 'classes' is missing"),
        (json.dumps(summary | {"positive": "BLAST"}), "positive class 'BLAST' is not one of"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=f"data/prepared/summary.json.*{says}.*dvc repro"):
            evaluate.run()
