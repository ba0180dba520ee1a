"""The trace of self-training, computed again from pseudo_labels.csv and truth.csv with pandas and plain counting."""

import json
from pathlib import Path

import pandas as pd
import pytest

from job.contracts.dataset import Dataset
from job.contracts.split import Split
from job.evaluation.blocks import Truth
from job.evaluation.self_training import trace
from tests.fixtures.run_tree import run_evidence, write_run_tree


def again(root: Path, method: str, fold: int, iteration: int, classes: tuple[str, ...], positive: str | None) -> dict:
    """One entry from the files alone, image by image."""
    truth = pd.read_csv(root / "data/truth.csv", dtype=str, keep_default_na=False).set_index("image")["label"]
    folder = root / "runs" / method / f"fold-{fold}" / "iterations"
    read = {
        i: pd.read_csv(folder / str(i) / "pseudo_labels.csv", keep_default_na=False).set_index("image")
        for i in (iteration - 1, iteration)
        if i > 0
    }
    made, before = read[iteration], read.get(iteration - 1)
    correct = times = correct_times = 0
    for image, row in made.iterrows():
        correct += row["label"] == truth[image]
        times += row["times"]
        correct_times += row["times"] * (row["label"] == truth[image])
    return {
        "method": method, "fold": fold, "iteration": iteration, "images": len(made),
        "correct": pytest.approx(correct / len(made)),
        "share_positive": None if positive is None else pytest.approx((made["label"] == positive).mean()),
        "agreement": None if before is None else pytest.approx((made["label"] == before["label"][made.index]).mean()),
        "kept": pytest.approx((made["times"] > 0).mean()), "correct_kept": pytest.approx(correct_times / times),
        "balance": {
            "labels": [(made["label"] == name).sum() for name in classes],
            "kept": [made.loc[made["label"] == name, "times"].sum() for name in classes],
            "truth": [(truth[made.index] == name).sum() for name in classes],
        },
        "confidence": {"mean": pytest.approx(made["confidence"].mean())},
    }  # fmt: skip


@pytest.mark.parametrize(("classes", "positive"), [(("HEM", "ALL"), "ALL"), (("A", "B", "C"), None)])
@pytest.mark.parametrize("left_out", [0.0, 0.3])
def test_every_figure_of_the_trace_follows_from_the_files(tmp_path, classes, positive, left_out):
    methods = ("efficientnet", "noisy_student", "meta_pseudo_labels")
    write_run_tree(
        tmp_path, classes=classes, methods=methods, folds=(1, 2), iterations=2, patients=36, left_out=left_out
    )
    run_evidence(tmp_path)
    report = json.loads((tmp_path / "results/evaluation.json").read_text())
    made = [(m, k, i) for m, last in (("noisy_student", 2), ("meta_pseudo_labels", 1)) for k in (1, 2)
            for i in range(1, last + 1)]  # fmt: skip
    assert report["self_training"] == [again(tmp_path, *one, classes, positive) for one in made]
    entry = report["self_training"][0]
    assert (entry["kept"] < 1) == (left_out > 0) == (entry["correct_kept"] != entry["correct"])
    # Every teacher and student stands beside it with its figures on three kinds of images.
    roles = {(m["method"], m["fold"], m["iteration"], m["role"]) for m in report["models"] if m["kind"] == "iteration"}
    teachers = [(m, k, 0) for m, k, _ in made]
    assert roles == {(*model, role) for model in made + teachers for role in ("test", "validation", "masked")}


def write_labels(folder: Path, rows: list[tuple]) -> None:
    path = folder / "iterations/1/pseudo_labels.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows, columns=["image", "label", "confidence", "times"]).to_csv(path, index=False)


def traced(folder: Path, known: dict[str, int]) -> dict:
    images = ["a", "b", "c", "d"]
    table = pd.DataFrame({"image": images, "role": "train", "fold": 2, "half": "masked", "pool": 1})
    dataset = Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
    labels = [dataset.classes[c] for c in known.values()]
    truth = Truth(pd.DataFrame({"image": list(known), "label": labels}), dataset)
    (entry,) = trace(folder, 1, Split(Path("split.csv"), table), truth)
    return entry


def test_labels_count_as_often_as_a_student_has_them(tmp_path):
    """In another order than the split's: each label stays with its own image."""
    write_labels(tmp_path, [("d", "ALL", 1.0, 3), ("b", "ALL", 0.55, 1), ("a", "HEM", 0.5, 0), ("c", "HEM", 0.55, 0)])
    entry = traced(tmp_path, {"a": 1, "b": 0, "c": 0, "d": 1})
    assert (entry["correct"], entry["kept"], entry["correct_kept"]) == (0.5, 0.5, 0.75)
    assert entry["balance"] == {"labels": [2, 2], "kept": [0, 4], "truth": [2, 2]}
    assert entry["confidence"]["mean"] == pytest.approx(0.65)


def test_labels_without_a_truth_are_neither_correct_nor_wrong(tmp_path):
    write_labels(tmp_path, [(name, "ALL", 0.96, 1) for name in "abcd"])
    entry = traced(tmp_path, {"a": 1, "b": 0})
    assert (entry["correct"], entry["correct_kept"]) == (0.5, 0.5)
    assert entry["balance"]["truth"] == [1, 1]


def test_a_student_that_was_given_nothing_of_known_truth_has_no_share_correct(tmp_path):
    write_labels(tmp_path, [(name, "ALL", 0.6, int(name in "cd")) for name in "abcd"])
    entry = traced(tmp_path, {"a": 1, "b": 0})
    assert (entry["correct"], entry["kept"], entry["correct_kept"]) == (0.5, 0.5, None)
