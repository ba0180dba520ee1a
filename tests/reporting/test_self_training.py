"""The page Self-training says of every method what that method does, and shows the numbers of evaluation.json."""

import csv
import dataclasses

import pytest

from job.reporting import published
from job.reporting.pages import self_training

from .rendered import make_tree, read_inputs, read_page, said
from .test_site import evaluation, text_of

METHODS = {"noisy_student": "Noisy Student", "meta_pseudo_labels": "Meta Pseudo Labels"}


@pytest.fixture(scope="session")
def both(tmp_path_factory):
    """Two methods that iterate, with a filter; three classes."""
    root = tmp_path_factory.mktemp("both")
    options = {"classes": ("A", "B", "C"), "folds": (1, 2), "iterations": 2, "patients": 36, "left_out": 0.3}
    return make_tree(root, methods=("efficientnet", *METHODS), **options)


def table(root, name):
    with (root / "site" / "csv" / f"{name}.csv").open() as handle:
        return list(csv.DictReader(handle))


def balanced(found, method, fold, iteration, role="test"):
    (model,) = (
        m for m in found["models"] if m["kind"] == "iteration" and m["role"] == role and m["method"] == method
        and m["fold"] == fold and m["iteration"] == iteration
    )  # fmt: skip
    return model["metrics"]["balanced_accuracy"]


def test_every_number_of_the_trace_is_on_the_page_and_in_its_files(both):
    found = evaluation(both)
    for method in METHODS:
        slug = method.replace("_", "-")
        entries = [e for e in found["self_training"] if e["method"] == method]
        last = max(entry["iteration"] for entry in entries)
        names = {turn: f"Student {turn}" if last > 1 else "Student" for turn in range(1, last + 1)} | {0: "Teacher"}
        shown = {(row["fold"], row["model"]): row for row in table(both, f"self-training-{slug}")}
        assert shown.keys() == {(fold, name) for fold in "12" for name in names.values()}
        for (fold, name), row in shown.items():
            turn = next(turn for turn in names if names[turn] == name)
            for role in ("test", "validation", "masked"):
                assert float(row[role]) == balanced(found, method, int(fold), turn, role)
        for entry in entries:
            row = shown[str(entry["fold"]), names[entry["iteration"]]]
            assert [float(row[key]) for key in ("correct", "kept", "correct_kept", "confidence.mean")] == [
                entry["correct"], entry["kept"], entry["correct_kept"], entry["confidence"]["mean"],
            ]  # fmt: skip
            shares = [count / entry["images"] for count in entry["balance"]["labels"]]
            assert [float(row[f"shares.{n}"]) for n in range(3)] == pytest.approx(shares)
            known = entry["balance"]["truth"]
            truths = [count / entry["images"] for count in known] if sum(known) == entry["images"] else []
            assert [float(row[f"truths.{n}"]) for n in range(3) if row[f"truths.{n}"]] == pytest.approx(truths)
            assert row["agreement"] == ("" if entry["agreement"] is None else str(entry["agreement"]))


def gain(evidence, **changes):
    """The figure of the gain, with other parameters of EfficientNet or other differences."""
    own = evidence.params.efficientnet.model_copy(update={"labels": changes.pop("labels", "all")})
    params = evidence.params.model_copy(update={"efficientnet": own})
    return self_training.page(dataclasses.replace(evidence, params=params, **changes)).figures["gain"]


def test_one_figure_holds_the_student_against_teacher_control_and_all_labels(both):
    evidence = read_inputs(both)
    differences = evidence.differences
    ends = {"low": differences["difference"] - 0.1, "high": differences["difference"] + 0.2, "p": 0.04, "p_holm": 0.4}
    differences = differences.assign(**ends)  # two patients of a class are too few for intervals
    found, figure = differences.set_index(["model", "other", "metric"]), gain(evidence, differences=differences)
    for n, (method, name) in enumerate(METHODS.items()):
        teacher, same, every = (row.rows[0] for row in figure.table.where(method=method).by("other").values())
        pairs = [(f"{method}/folds", f"{method}/teachers"), (f"{method}/majority", "efficientnet/majority")]
        expected = [found.loc[(*pair, "balanced_accuracy")] for pair in pairs]
        keys = ["difference", "low", "high", "p", "p_holm", "positive", "negative", "subjects"]
        for row, comparison in zip((teacher, every), expected, strict=True):
            assert list(row[2:-1]) == pytest.approx(list(comparison[keys]))
        assert same[2:] == [None] * 8 + ["not in this run: EfficientNet had all labels"]
        drawn = figure.plot.data[n]
        assert drawn.name == name
        assert [drawn.x[0], drawn.x[2]] == pytest.approx([100 * comparison["difference"] for comparison in expected])
        assert drawn.x[1] is None
        assert [*drawn.error_x.arrayminus, *drawn.error_x.array] == pytest.approx([10, 0, 10, 20, 0, 20])
    (words,) = figure.plot.layout.annotations
    assert (words.y, words.text) == (1, "not compared")


def test_the_control_takes_the_place_of_all_labels_where_it_was_trained(finished):
    evidence = read_inputs(finished)
    control = {"model": "noisy_student/folds", "other": "efficientnet/folds"}
    table = evidence.differences.assign(**control)[evidence.differences["metric"] == "balanced_accuracy"][:1]
    _, same, every = gain(evidence, labels="half", differences=table).table.rows
    assert same[2] == pytest.approx(table["difference"].iloc[0])
    assert every[2:] == [None] * 8 + ["not in this run: EfficientNet had half labels"]


def test_a_vote_that_was_declared_the_other_way_round_is_turned(finished):
    evidence = read_inputs(finished)
    as_it_is = gain(evidence).table.rows[2]
    table = evidence.differences.replace({"model": {"noisy_student/majority": "efficientnet/majority"},
                                          "other": {"efficientnet/majority": "noisy_student/majority"}})  # fmt: skip
    turned = gain(evidence, differences=table).table.rows[2]
    difference, low, high, p, holm, better, worse, subjects, note = as_it_is[2:]
    assert turned[2:] == [-difference, -high, -low, p, holm, worse, better, subjects, note]


def test_methods_have_their_own_words(both):
    path = both / "site" / "self-training.html"
    shown = text_of(path)
    assert "and is the next teacher, 2 times over" in shown
    assert "Teacher and student learn side by side" in shown
    assert "Pham et al. 2021" in shown
    # The overview too names each by what it was.
    overview = text_of(both / "site" / "index.html")
    assert (
        "Noisy Student, one teacher and 2 students per fold; Meta Pseudo Labels, one teacher and 1 student" in overview
    )


def test_a_method_alone_is_not_described_as_another(tmp_path):
    root = make_tree(tmp_path / "meta", methods=("efficientnet", "meta_pseudo_labels"), folds=(1, 2))
    for page in ("self-training", "method", "index"):
        shown = text_of(root / "site" / f"{page}.html")
        # What the published report ran stands beside what this run did.
        for theirs in ("Noisy Student (Xie", published.SETTINGS["Methods"], published.SETTINGS["Self-training"]):
            shown = shown.replace(theirs, "")
        assert "Noisy Student" not in shown
        assert "is the next teacher" not in shown
        assert "3 students" not in shown
    assert "side by side" in text_of(root / "site" / "self-training.html")


@pytest.mark.parametrize(
    ("changes", "words", "unsaid"),
    [
        ({}, "hard pseudo-labels and nothing else", "sure are used"),
        ({"labels": "soft", "train_on": "labelled+pseudo"}, "soft pseudo-labels beside the labelled", "nothing else"),
        ({"confidence": 0.8}, "at least 80.0 % sure are used", "Scarce"),
        ({"balance": True}, "Scarce classes are repeated", "sure are used"),
        ({"augment": "cells", "dropout": 0.0, "stochastic_depth": 0.0}, "noise: augmentation “cells”.", "dropout"),
        ({"augment": "none", "dropout": 0.0, "stochastic_depth": 0.0}, "noise: none.", "augmentation"),
        ({"backbone": "efficientnet-b1"}, "Students are efficientnet-b1, the teacher", "tuned"),
        ({"finetune_epochs": 1}, "ends with 1 epoch on labelled images", "nothing ends"),
    ],
)
def test_noisy_student_is_described_as_its_parameters_have_it(finished, changes, words, unsaid):
    params = read_inputs(finished).params
    own = params.noisy_student.model_copy(update=changes)
    params = params.model_copy(update={"noisy_student": own})
    shown = said(self_training.page, dataclasses.replace(read_inputs(finished), params=params))
    assert words in shown
    assert unsaid not in shown.partition("The published report’s students")[0]


def test_the_mean_on_validation_images_looks_like_no_fold(finished):
    drawn = self_training.page(read_inputs(finished)).figures["noisy-student-turns"].plot.data
    *folds, mean, validation = (trace for trace in drawn if trace.yaxis == "y")
    assert (mean.name, validation.name) == ("Test", "Validation")
    assert len(folds) == 5
    for fold in folds:
        assert fold.line.color == mean.line.color != validation.line.color
        assert fold.line.width < mean.line.width


def test_without_a_filter_nothing_is_said_to_be_kept(finished, both):
    kept = "Kept: images that an epoch"
    assert kept not in text_of(finished / "site" / "self-training.html")
    assert kept in text_of(both / "site" / "self-training.html")
    headings = [row for t in read_page(both / "site" / "self-training.html").tables for row in t if "Kept, %" in row]
    assert headings


def test_undefined_metrics_leave_out_the_curve_and_keep_the_labels(finished):
    found = read_inputs(finished)
    models = [
        {**m, "metrics": dict.fromkeys(m["metrics"])} if m["kind"] == "iteration" else m
        for m in found.evaluation["models"]
    ]
    page = self_training.page(dataclasses.replace(found, evaluation={**found.evaluation, "models": models}))
    figure = page.figures["noisy-student-turns"]
    assert {trace.yaxis for trace in figure.plot.data} == {"y2"}
    assert figure.title.startswith("Correct among 3 rounds")
