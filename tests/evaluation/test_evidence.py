"""Intervals, differences, persons and thresholds in the files that `evaluate` writes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from job import params
from job.commands import predict, scoring
from job.evaluation import anybody, assembly, calibration
from job.evaluation.metrics import METRICS
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


def test_every_figure_has_an_interval_around_it_or_a_reason(report):
    for model in report["models"]:
        if model["kind"] == "iteration":
            assert model["intervals"] is None
            continue
        assert set(model["intervals"]) | set(model["no_interval"]) == set(METRICS)
        assert not set(model["intervals"]) & set(model["no_interval"])
        assert set(model["undefined"]) | {"ece"} <= set(model["no_interval"])
        for name, ends in model["intervals"].items():
            assert ends["low"] < model["metrics"][name] < ends["high"], name
    always = next(m for m in report["models"] if m["model"] == "baseline/always_ALL")
    assert "every subject gives the same figure" in always["no_interval"]["sensitivity"]
    assert "every image is predicted ALL" in always["no_interval"]["npv"]


def test_intervals_are_of_subjects_and_wider_than_those_of_images(report):
    shown = report["image_level"]
    assert shown["model"] == "efficientnet/majority"
    wider = [np.ptp(entry["subjects"]) > np.ptp(entry["images"]) for entry in shown["metrics"].values()]
    assert len(wider) > 8
    assert np.mean(wider) > 0.8


@pytest.mark.parametrize("method", ["efficientnet", "noisy_student"])
def test_predict_calls_at_an_operating_point_what_evaluate_counted(report, evaluated, scored, method):
    """The report promises a sensitivity; whoever uses the point on new cells must get that very rule."""
    test = scored[(scored["role"] == "test") & (scored["method"] == method) & (scored["kind"] == "fold")]
    columns = [f"p_{name}" for name in report["classes"]]
    members = np.stack([
        fold.sort_values("image")[columns].to_numpy(dtype=np.float32) for _, fold in test.groupby("fold", sort=True)
    ])  # fmt: skip
    truth = test.drop_duplicates("image").sort_values("image")["label"].to_numpy()
    facts = scoring.Facts(method, tuple(range(len(members))), tuple(report["classes"]), 8, 0, "cell")
    entry = next(entry for entry in report["operating_points"] if entry["method"] == method)
    for point in entry["points"]:
        found = predict.operating_point_of(method, point["name"], evaluated / "results/evaluation.json")
        called, _ = scoring.verdicts(members, scoring.Rule(*found), facts)
        positive = np.array(report["classes"])[called] == report["positive"]
        counted = {"TP": positive & (truth == "ALL"), "FP": positive & (truth == "HEM")}
        assert {key: int(cells.sum()) for key, cells in counted.items()} == {
            key: point["test"][key] for key in counted
        }, point["name"]


def test_where_every_image_is_a_person_both_ways_give_the_same_interval(report, evaluated):
    """So that what lies between them elsewhere is that cells of one person are alike, and no difference of method."""
    table = pd.read_csv(evaluated / "results/predictions.csv", dtype=str, keep_default_na=False)
    alone = table[table["model"] == "efficientnet/majority"].assign(patient=table["image"], subject=table["image"])
    alone.to_csv(evaluated.parent / "alone.csv", index=False)
    given = anybody.read(evaluated.parent / "alone.csv", synthetic=True)
    settings = params.load(REPOSITORY / "params.yaml").evaluation
    shown = assembly.assess(given.blocks, given.fitted, given.truth, given.dataset, settings).sections["image_level"]
    assert len(shown["metrics"]) > 8
    for name, entry in shown["metrics"].items():
        assert entry["subjects"] == entry["images"], name
        assert entry["images"] == pytest.approx(report["image_level"]["metrics"][name]["images"], abs=2e-6)


def test_two_subjects_of_a_class_leave_its_figures_without_an_interval(tmp_path):
    write_run_tree(tmp_path, methods=("efficientnet",), folds=(1, 2), patients=16)
    run_evidence(tmp_path)
    report = json.loads((tmp_path / "results/evaluation.json").read_text())
    model = next(m for m in report["models"] if m["model"] == "efficientnet/majority")
    assert model["subjects"] == 4
    assert "too few subjects, an interval needs 3 of a class: HEM has 2" in model["no_interval"]["specificity"]


def test_differences_are_of_any_two_models_and_paired(evaluated, report):
    table = pd.read_csv(evaluated / "results/differences.csv")
    names = [m["model"] for m in report["models"] if m["role"] == "test" and m["kind"] != "iteration"]
    pairs = {(one, other) for i, one in enumerate(names) for other in names[i + 1 :]}
    assert set(zip(table["model"], table["other"], strict=True)) == pairs
    metrics = {m["model"]: m["metrics"] for m in report["models"] if m["role"] == "test"}
    for row in table.itertuples():
        one, other = metrics[row.model][row.metric], metrics[row.other][row.metric]
        if one is None or other is None:
            assert np.isnan(row.difference)
        else:
            assert row.difference == pytest.approx(one - other, abs=1e-6)
            assert np.isnan(row.low) or row.low <= row.difference <= row.high
    # Two votes of the same folds share the subjects' difficulty, which cancels.
    votes = table[(table["model"] == "efficientnet/majority") & (table["other"] == "efficientnet/mean")]
    paired = votes.set_index("metric").loc["accuracy"]
    ends = next(m for m in report["models"] if m["model"] == "efficientnet/mean")["intervals"]["accuracy"]
    assert paired["high"] - paired["low"] < ends["high"] - ends["low"]


def test_across_methods_all_folds_are_voters(scored, report):
    folds = scored[scored["kind"] == "fold"]
    assert folds["model"].nunique() == 6
    mean = folds.groupby("image")["p_ALL"].mean()
    across = scored[scored["model"] == "across/mean"].set_index("image")["p_ALL"]
    np.testing.assert_allclose(across, mean.loc[across.index])
    calls = (folds["p_ALL"] > 0.5).groupby(folds["image"]).sum()
    model = next(m for m in report["models"] if m["model"] == "across/majority")
    assert model["ties"] == (calls == 3).sum() > 0
    voted = scored[scored["model"] == "across/majority"].set_index("image")
    tied = calls.index[calls == 3]
    assert (voted.loc[tied, "predicted"] == np.where(mean[tied] > 0.5, "ALL", "HEM")).all()


def test_persons_are_counted_from_the_predictions_the_worst_first(scored, report):
    entry = next(e for e in report["patients"] if e["model"] == "efficientnet/majority")
    rows = scored[scored["model"] == "efficientnet/majority"]
    assert [r["subject"] for r in entry["subjects"]] != sorted(rows["subject"].unique())
    accuracy = [r["accuracy"] for r in entry["subjects"]]
    assert accuracy == sorted(accuracy)
    assert entry["accuracy"]["lowest"] == accuracy[0]
    assert entry["accuracy"]["median"] == pytest.approx(np.median(accuracy))
    called = {}
    for row in entry["subjects"]:
        own = rows[rows["subject"] == row["subject"]]
        assert (row["images"], row["right"]) == (len(own), (own["label"] == own["predicted"]).sum())
        assert row["called"] == [(own["predicted"] == name).sum() for name in ("HEM", "ALL")]
        assert row["share_positive"] == pytest.approx((own["predicted"] == "ALL").mean())
        assert row["low"] <= row["share_positive"] <= row["high"]
        assert row["called_positive"] == (row["share_positive"] >= 0.2)
        assert row["positive"] == (own["label"] == "ALL").all()
        called[row["subject"]] = own["p_ALL"].mean()
    positive = [r["positive"] for r in entry["subjects"]]
    mean_score = [called[r["subject"]] for r in entry["subjects"]]
    assert entry["auroc"] == pytest.approx(sk.roc_auc_score(positive, mean_score))
    healthy = [r for r in entry["subjects"] if not r["positive"]]
    cleared = sum(not r["called_positive"] for r in healthy)
    assert entry["rule"]["specificity"] | {"low": None, "high": None} == {
        "right": cleared, "of": len(healthy), "value": cleared / len(healthy), "low": None, "high": None,
    }  # fmt: skip


def test_the_blast_percentage_is_a_parameter(tree):
    edit_params(tree, evaluation={"blast_share": 0.9})
    evaluate.run()
    report = json.loads(Path("results/evaluation.json").read_text())
    rows = [row for entry in report["patients"] for row in entry["subjects"]]
    assert all(row["called_positive"] == (row["share_positive"] >= 0.9) for row in rows)
    assert any(0.2 <= row["share_positive"] < 0.9 for row in rows)


def test_the_temperature_is_that_of_the_validation_images(scored, report):
    for entry in report["calibration"]:
        own = scored[scored["model"] == f"{entry['method']}/out_of_fold"]
        p, truth = own[["p_HEM", "p_ALL"]].to_numpy(), (own["label"] == "ALL").to_numpy().astype(int)
        losses = [
            sk.log_loss(truth, calibration.tempered(p, entry["temperature"] * factor)) for factor in (0.97, 1, 1.03)
        ]
        assert losses[1] == min(losses)
        assert entry["validation"]["after"]["metrics"]["log_loss"] == pytest.approx(losses[1])
        after = entry["test"]["after"]["reliability"]["ALL"]
        tested = scored[scored["model"] == f"{entry['method']}/calibrated"]
        assert sum(row["images"] for row in after) == len(tested)
        assert sum(row["happened"] for row in after) == (tested["label"] == "ALL").sum()


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


def test_operating_points_are_tried_on_test_with_the_calibrated_mean(scored, report):
    for entry in report["operating_points"]:
        tested = scored[scored["model"] == f"{entry['method']}/calibrated"]
        points = {p["name"]: p for p in entry["points"]}
        assert points["sensitivity"]["validation"]["sensitivity"] >= 0.95
        for point in points.values():
            called, positive = tested["p_ALL"] >= point["threshold"], tested["label"] == "ALL"
            counts = [int((a & b).sum()) for a, b in ((called, positive), (~called, positive), (called, ~positive))]
            assert [point["test"][name] for name in ("TP", "FN", "FP")] == counts
            low, high = point["intervals"]["specificity"] or (0, 1)
            assert low <= point["test"]["specificity"] <= high


def test_abstention_counts_the_test_images(scored, report):
    for entry in report["abstention"]:
        tested = scored[scored["model"] == f"{entry['method']}/calibrated"]
        sure = tested[["p_HEM", "p_ALL"]].max(axis=1)
        kept = tested[sure >= entry["chosen"]["test"]["confidence"]]
        assert entry["chosen"]["test"]["kept"] == len(kept)
        assert entry["chosen"]["test"]["errors"] == (kept["label"] != kept["predicted"]).sum()
        assert entry["chosen"]["validation"]["error"] <= entry["wanted_error"]
        voted = scored[scored["model"] == f"{entry['method']}/majority"]
        shares = voted[["p_HEM", "p_ALL"]].max(axis=1)
        unanimous = entry["agreement"]["curve"][0]
        assert (unanimous["confidence"], unanimous["kept"]) == (1, (shares == 1).sum())


def test_the_resamples_follow_their_seed(tree):
    before = json.loads(Path("results/evaluation.json").read_text())["models"][0]["intervals"]["accuracy"]
    edit_params(tree, evaluation={"seed": 8})
    evaluate.run()
    after = json.loads(Path("results/evaluation.json").read_text())["models"][0]["intervals"]["accuracy"]
    assert before["percentile"] != after["percentile"]
    assert before["percentile"] == pytest.approx(after["percentile"], abs=0.08)
    assert (before["low"], before["high"]) == (after["low"], after["high"])


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
    assert {"auroc", "f1", "mcc"} <= set(report["models"][0]["intervals"])
    assert set(report["calibration"][0]["test"]["before"]["reliability"]) == {"A", "B", "C"}
    assert all(entry["share_positive"] is None for entry in report["self_training"])
    assert "share_positive" not in report["patients"][0]["subjects"][0]
