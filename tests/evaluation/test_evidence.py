"""Intervals, differences, persons and decisions in the files that `evaluate` writes, beyond what `recompute` checks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from job import params
from job.commands import predict
from job.ensemble import scoring
from job.evaluation import assembly, external
from job.evaluation.intervals import METRICS
from job.stages import ensemble, evaluate
from tests.evaluation.test_pooling import read, write
from tests.fixtures.run_tree import REPOSITORY, edit_params, run_evidence, write_run_tree


@pytest.fixture
def report(evaluated):
    return json.loads((evaluated / "results" / "evaluation.json").read_text())


@pytest.fixture
def scored(evaluated):
    table = read(evaluated / "results/predictions.csv")
    return table.assign(p_ALL=table["p_ALL"].astype(float), p_HEM=table["p_HEM"].astype(float))


def test_every_figure_over_subjects_has_an_interval_around_it_or_a_reason(report):
    for model in report["models"]:
        for name in METRICS:
            entry, reason = model["by_subject"][name], model["no_interval"].get(name)
            assert (entry["low"] is None) == (reason is not None), name
            assert reason or 0 <= entry["low"] <= entry["value"] <= entry["high"] <= 1, name
    always = next(m for m in report["models"] if m["model"] == "baseline/always_ALL")
    assert "every subject has the same figure" in always["no_interval"]["balanced_accuracy"]
    assert "the figure is undefined: the score for ALL is the same" in always["no_interval"]["auroc"]
    # All right in 5 subjects, all wrong in 4: independent trials.
    assert always["by_subject"]["sensitivity"] == {"value": 1, "low": pytest.approx(0.478, abs=1e-3), "high": 1}
    assert always["by_subject"]["specificity"] == {"value": 0, "low": 0, "high": pytest.approx(0.602, abs=1e-3)}


def test_intervals_are_of_subjects_and_wider_than_those_of_images(report):
    shown = report["image_level"]
    assert shown["model"] == "efficientnet/majority"
    assert set(shown["metrics"]) == set(METRICS)
    for entry in shown["metrics"].values():
        over_subjects, over_images = (entry[of]["high"] - entry[of]["low"] for of in ("subjects", "images"))
        assert over_subjects > over_images


@pytest.mark.parametrize("method", ["efficientnet", "noisy_student"])
def test_predict_decides_at_an_operating_point_as_evaluate_counted(report, evaluated, scored, method, monkeypatch):
    """The report promises a sensitivity; whoever uses the point on new cells must get that very rule."""
    test = scored[(scored["role"] == "test") & (scored["method"] == method) & (scored["kind"] == "fold")]
    columns = [f"p_{name}" for name in report["classes"]]
    members = np.stack([
        fold.sort_values("image")[columns].to_numpy(dtype=np.float32) for _, fold in test.groupby("fold", sort=True)
    ])  # fmt: skip
    truth = test.drop_duplicates("image").sort_values("image")["label"].to_numpy()
    manifest = scoring.Manifest(method, tuple(range(len(members))), tuple(report["classes"]), 8, 0, "cell")
    entry = next(entry for entry in report["operating_points"] if entry["method"] == method)
    monkeypatch.chdir(evaluated)
    points = predict.operating_points(method)
    for point in entry["points"]:
        label, threshold, temperature, _ = points[point["name"]]
        numbers, _ = scoring.verdicts(members, scoring.Rule((label, threshold), temperature), manifest)
        positive = np.array(report["classes"])[numbers] == report["positive"]
        counted = {"TP": positive & (truth == "ALL"), "FP": positive & (truth == "HEM")}
        assert {key: int(cells.sum()) for key, cells in counted.items()} == {
            key: point["test"][key] for key in counted
        }, point["name"]


def test_where_every_image_is_a_person_both_ways_give_the_same_interval(report, evaluated):
    """So that what lies between them elsewhere is that cells of one person are alike, and no difference of method."""
    table = pd.read_csv(evaluated / "results/predictions.csv", dtype=str, keep_default_na=False)
    alone = table[table["model"] == "efficientnet/majority"].assign(patient=table["image"], subject=table["image"])
    alone.to_csv(evaluated.parent / "alone.csv", index=False)
    blocks, fitted, _ = external.read(evaluated.parent / "alone.csv", synthetic=True)
    settings = params.load(REPOSITORY / "params.yaml").evaluation
    shown = assembly.assess(blocks, fitted, [], settings)[0]["image_level"]
    for name, entry in shown["metrics"].items():
        assert entry["subjects"] == entry["images"], name
        assert entry["images"] == pytest.approx(report["image_level"]["metrics"][name]["images"], abs=2e-6)


def test_two_subjects_of_a_class_leave_its_figures_without_an_interval(tmp_path):
    write_run_tree(tmp_path, methods=("efficientnet",), folds=(1, 2), patients=16)
    run_evidence(tmp_path)
    report = json.loads((tmp_path / "results/evaluation.json").read_text())
    model = next(m for m in report["models"] if m["model"] == "efficientnet/majority")
    assert model["subjects"] == 4
    assert "needs 3 subjects of each class, and of one there are 2" in model["no_interval"]["specificity"]
    table = pd.read_csv(tmp_path / "results/differences.csv")
    assert table[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert (table["positive"] <= table["subjects"]).all()


def test_differences_are_the_declared_ones(evaluated):
    table = pd.read_csv(evaluated / "results/differences.csv")
    assert table.drop_duplicates(["model", "other"])[["model", "other"]].to_numpy().tolist() == [
        ["efficientnet/majority", "baseline/area"], ["noisy_student/majority", "baseline/area"],
        ["noisy_student/majority", "efficientnet/majority"],
        ["efficientnet/majority", "efficientnet/folds"], ["noisy_student/majority", "noisy_student/folds"],
        ["noisy_student/folds", "noisy_student/teachers"],
    ]  # fmt: skip
    assert table["metric"].tolist() == [*METRICS] * 6
    assert (table["p_holm"] >= table["p"]).all()


def test_across_methods_all_folds_are_voters(scored, report):
    folds = scored[scored["kind"] == "fold"]
    assert folds["model"].nunique() == 6
    mean = folds.groupby("image")["p_ALL"].mean()
    across = scored[scored["model"] == "across/mean"].set_index("image")["p_ALL"]
    np.testing.assert_allclose(across, mean.loc[across.index])
    votes = (folds["p_ALL"] > 0.5).groupby(folds["image"]).sum()
    model = next(m for m in report["models"] if m["model"] == "across/majority")
    assert model["ties"] == (votes == 3).sum() > 0
    voted = scored[scored["model"] == "across/majority"].set_index("image")
    assert voted["votes_ALL"].astype(int).to_dict() == votes.to_dict()
    tied = votes.index[votes == 3]
    assert (voted.loc[tied, "predicted"] == np.where(mean[tied] > 0.5, "ALL", "HEM")).all()


def test_a_collapsed_method_leaves_the_joint_vote(tmp_path):
    methods = ("efficientnet", "noisy_student", "fixmatch")
    write_run_tree(tmp_path, methods=methods, folds=(1, 2, 3))
    for path in (tmp_path / "predictions/fixmatch").iterdir():
        table = read(path)
        write(
            path,
            table.assign(
                p_HEM=np.where(table["role"] == "test", "0.1", "0.9"),
                p_ALL=np.where(table["role"] == "test", "0.9", "0.1"),
            ),
        )
    run_evidence(tmp_path)
    models = json.loads((tmp_path / "results/evaluation.json").read_text())["models"]
    assert "fixmatch/majority" in {model["model"] for model in models}
    voted = read(tmp_path / "results/predictions.csv").query("model == 'across/majority'")
    assert set(voted[["votes_HEM", "votes_ALL"]].astype(int).sum(axis=1)) == {6}


def test_nothing_is_fitted_or_chosen_on_test_labels(tree):
    def choices():
        report = json.loads(Path("results/evaluation.json").read_text())
        return (
            [entry["temperature"] for entry in report["calibration"]],
            [[p["threshold"] for p in entry["points"]] for entry in report["operating_points"]],
            [entry["chosen"]["validation"] for entry in report["abstention"]],
            json.loads(Path("ensembles/efficientnet/ensemble.json").read_text()),
        )

    before, figures = choices(), Path("results/evaluation.json").read_bytes()
    truth, split = read(Path("data/truth.csv")), read(Path("data/split.csv"))
    tested = truth["image"].isin(split.loc[split["role"] == "test", "image"])
    truth.loc[tested, "label"] = np.where(truth.loc[tested, "label"] == "ALL", "HEM", "ALL")
    write(Path("data/truth.csv"), truth)
    ensemble.run("efficientnet")
    evaluate.run()
    assert choices() == before
    assert Path("results/evaluation.json").read_bytes() != figures


def test_without_patients_images_are_subjects_and_the_intervals_are_called_too_narrow(tree):
    path = Path("data/prepared/summary.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"patients_known": False}))
    evaluate.run()
    report = json.loads(Path("results/evaluation.json").read_text())
    assert report["patients"] == []
    assert report["image_level"] is None
    assert "intervals are too narrow" in report["evidence"]["warnings"][0]


def test_three_classes_have_intervals_and_no_positive_class(tmp_path):
    write_run_tree(tmp_path, classes=("A", "B", "C"), folds=(1, 2), iterations=1, patients=48)
    run_evidence(tmp_path)
    report = json.loads((tmp_path / "results/evaluation.json").read_text())
    assert report["positive"] is None
    assert report["operating_points"] == []
    assert report["models"][0]["no_interval"] == {}
    assert set(report["calibration"][0]["test"]["before"]["reliability"]) == {"A", "B", "C"}
    assert all(entry["share_positive"] is None for entry in report["self_training"])
    assert "share_positive" not in report["patients"][0]["subjects"][0]


def test_the_same_network_on_the_same_labels_is_compared_where_it_was_trained(tree):
    edit_params(tree, efficientnet={"labels": "half"})
    evaluate.run()
    table = pd.read_csv("results/differences.csv")
    assert table.iloc[-1][["model", "other"]].tolist() == ["noisy_student/folds", "efficientnet/folds"]
