"""The page Self-training says of every method what that method does, and shows the numbers of evaluation.json."""

import csv
import dataclasses
from statistics import fmean

import pytest

from job.reporting import published
from job.reporting import trace as tracing
from job.reporting.pages import self_training

from .rendered import make_tree, read_inputs, read_page
from .test_site import evaluation, rows, text_of

THIN = "\N{NARROW NO-BREAK SPACE}%"
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


def test_one_sentence_for_each_fold_with_its_numbers(finished):
    found, shown = evaluation(finished), text_of(finished / "site" / "self-training.html")
    right = {(e["fold"], e["iteration"]): e["right"] for e in found["self_training"]}
    for fold in range(1, 6):
        gain = 100 * (balanced(found, "noisy_student", fold, 3) - balanced(found, "noisy_student", fold, 0))
        verb, preposition = ("gains", "over") if gain > 0 else ("loses", "to")
        assert (
            f"Fold {fold}: {100 * right[fold, 1]:.1f} % of the first student’s pseudo-labels are right, "
            f"{100 * right[fold, 3]:.1f} % of the last one’s; the last student {verb} {abs(gain):.1f} points of "
            f"balanced accuracy {preposition} the teacher."
        ) in shown


def test_an_only_student_is_compared_with_its_teacher():
    entry = {
        "method": "meta_pseudo_labels", "fold": 3, "iteration": 1, "images": 500, "right": 0.912, "kept": 1.0,
        "right_kept": 0.912, "share_positive": 0.5, "agreement": None,
        "balance": {"labels": [250, 250], "kept": [250, 250], "truth": [250, 250]},
        "confidence": {"mean": 0.9},
    }  # fmt: skip

    def model(iteration, value):
        return {"fold": 3, "iteration": iteration, "role": "test", "metrics": {"balanced_accuracy": value}}

    def said(student, **changes):
        models = [model(0, 0.8), model(1, student)]
        return tracing.in_folds(tracing.Trace("m", ["HEM", "ALL"], "ALL", [{**entry, **changes}], models))

    start = f"Fold 3: 91.2{THIN} of the pseudo-labels are right; the student"
    assert said(0.814) == [f"{start} gains 1.4 points of balanced accuracy over its teacher."]
    assert said(0.75) == [f"{start} loses 5.0 points of balanced accuracy to its teacher."]
    assert said(0.8) == [f"{start} has the balanced accuracy of its teacher."]
    kept = {**entry["balance"], "kept": [150, 150]}
    assert f"right (97.0{THIN} of the 60.0{THIN} that it learned from)" in said(
        0.8, kept=0.6, right_kept=0.97, balance=kept
    )[0]  # fmt: skip
    assert "Fold 3: nobody knows how many of the pseudo-labels are right; the student" in said(0.8, right=None)[0]
    assert said(None) == [f"Fold 3: 91.2{THIN} of the pseudo-labels are right."]


def test_every_number_of_the_trace_is_on_the_page_and_in_its_files(both):
    found = evaluation(both)
    for method in METHODS:
        slug = method.replace("_", "-")
        entries = [e for e in found["self_training"] if e["method"] == method]
        labels = table(both, f"pseudo-labels-{slug}")
        assert len(labels) == len(entries)
        for row, entry in zip(labels, entries, strict=True):
            assert [float(row[key]) for key in ("right", "kept", "right_kept", "confidence")] == [
                entry["right"], entry["kept"], entry["right_kept"], entry["confidence"]["mean"],
            ]  # fmt: skip
            shares = [count / entry["images"] for count in entry["balance"]["labels"]]
            assert [float(row[f"share_{n}"]) for n in range(3)] == pytest.approx(shares)
            assert row["agreement"] == ("" if entry["agreement"] is None else str(entry["agreement"]))
        last = max(e["iteration"] for e in entries)
        bins = table(both, f"pseudo-labels-confidence-{last}-{slug}")
        for fold in (1, 2):
            entry = next(e for e in entries if (e["fold"], e["iteration"]) == (fold, last))
            for key in ("right", "wrong", "unknown"):
                assert [int(row[key]) for row in bins if row["fold"] == str(fold)] == entry["confidence"][key]
        classes = table(both, f"pseudo-labels-balance-{slug}")
        for name, key in (("Truth", "truth"), ("Kept for", "kept")):
            group = [row for row in classes if row["labels"].startswith(name)][-3:]
            entries_of = [e["balance"][key] for e in entries if e["iteration"] == last]
            assert [int(row["count"]) for row in group] == [sum(column) for column in zip(*entries_of, strict=True)]
        for row in table(both, f"self-training-trace-{slug}"):
            iteration = 0 if row["model"] == "Teacher" else int(row["model"].removeprefix("Student") or 1)
            for role in ("test", "validation"):
                assert float(row[role]) == balanced(found, method, int(row["fold"]), iteration, role)


def test_methods_stand_side_by_side_each_with_its_own_words(both):
    found, path = evaluation(both), both / "site" / "self-training.html"
    for method, name in METHODS.items():
        shown = rows(path, name)[0]
        last = {"noisy_student": 2, "meta_pseudo_labels": 1}[method]
        right = fmean(e["right"] for e in found["self_training"] if (e["method"], e["iteration"]) == (method, last))
        teacher, student = (fmean(balanced(found, method, k, i) for k in (1, 2)) for i in (0, last))
        gain = f"{100 * (student - teacher):.1f}".replace("-", "\N{MINUS SIGN}")
        assert [shown[1], *shown[3:]] == [
            str(last), f"{100 * right:.1f}", f"{100 * teacher:.1f}", f"{100 * student:.1f}", gain,
        ]  # fmt: skip
    shown = text_of(path)
    assert "and is the next teacher, 2 times over" in shown
    assert "Teacher and student learn side by side" in shown
    # The overview and the method page too name each by what it was.
    overview = text_of(both / "site" / "index.html")
    assert (
        "Noisy Student, one teacher and 2 students per fold; Meta Pseudo Labels, one teacher and 1 student" in overview
    )
    assert "Pham et al. (2021)" in text_of(both / "site" / "method.html")


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
    assert not rows(root / "site" / "self-training.html", "Meta Pseudo Labels")


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, "hard pseudo-labels and nothing else", "sure are used"),
        ({"labels": "soft", "train_on": "labelled+pseudo"}, "soft pseudo-labels beside the labelled", "nothing else"),
        ({"confidence": 0.8}, f"at least 80.0{THIN} sure are used", "Scarce"),
        ({"balance": True}, "Scarce classes are repeated", "sure are used"),
        ({"augment": "cells", "dropout": 0.0, "stochastic_depth": 0.0}, "noise: augmentation “cells”.", "dropout"),
        ({"augment": "none", "dropout": 0.0, "stochastic_depth": 0.0}, "noise: none.", "augmentation"),
        ({"backbone": "efficientnet-b1"}, "Students are efficientnet-b1, the teacher", "tuned"),
        ({"finetune_epochs": 1}, "ends with 1 epoch on labelled images", "nothing ends"),
    ],
)
def test_noisy_student_is_described_as_its_parameters_have_it(finished, changes, said, unsaid):
    params = read_inputs(finished).params
    own = params.noisy_student.model_copy(update=changes)
    shown = self_training.how("noisy_student", params.model_copy(update={"noisy_student": own}))
    assert said in shown
    assert unsaid not in shown


def test_the_mean_on_validation_images_looks_like_no_fold(finished):
    *folds, _, validation = self_training.page(read_inputs(finished)).figures["noisy-student-trace"].spec["data"]
    assert validation["name"] == "Mean of folds, validation"
    assert len(folds) == 5
    for fold in folds:
        assert fold["line"]["color"] != validation["line"]["color"]
        assert fold["marker"]["symbol"] != validation["marker"]["symbol"]
        assert fold["line"]["width"] < validation["line"]["width"]


def test_the_sentence_on_the_share_of_a_class_agrees_with_the_figure(finished):
    """Both count the labels of all folds together: the mean of folds is another number where folds differ in images."""
    found = evaluation(finished)["self_training"]
    counts = [[sum(n) for n in zip(*(e["balance"]["labels"] for e in found if e["iteration"] == i), strict=True)]
              for i in (1, 2, 3)]  # fmt: skip
    shares = [f"{100 * all_ / (hem + all_):.1f} %" for hem, all_ in counts]
    truth = [sum(n) for n in zip(*(e["balance"]["truth"] for e in found if e["iteration"] == 1), strict=True)]
    listed = f"{shares[0]}, {shares[1]} and {shares[2]}; in truth {100 * truth[1] / sum(truth):.1f} % of these images"
    shown = text_of(finished / "site" / "self-training.html")
    assert f"Share of labels that say ALL, student 1 to 3, all folds together: {listed} are ALL." in shown
    bars = self_training.page(read_inputs(finished)).figures["noisy-student-balance"].spec["data"][1]
    assert [f"{share:.1f} %" for share in bars["y"][1:]] == shares


def test_folds_of_different_sizes_are_counted_together():
    balance = [{"labels": labels, "kept": labels, "truth": [0, 0]} for labels in ([0, 10], [45, 45])]
    entries = [
        {"fold": k, "iteration": 1, "images": sum(b["labels"]), "right": None, "balance": b, "kept": 1.0,
         "share_positive": b["labels"][1] / sum(b["labels"]), "confidence": {"mean": 0.9}}
        for k, b in enumerate(balance, start=1)
    ]  # fmt: skip
    said = tracing.explanation(tracing.Trace("m", ["HEM", "ALL"], "ALL", entries, []))
    assert f"Share of labels that say ALL, all folds together: 55.0{THIN}." in said


def figures_of(found, **changes):
    entries = [{**entry, **changes.get(f"{entry['fold']}-{entry['iteration']}", {})}
               for entry in found.evaluation["self_training"]]  # fmt: skip
    changed = dataclasses.replace(found, evaluation={**found.evaluation, "self_training": entries})
    return self_training.page(changed).figures


def test_titles_of_labels_say_of_which_images(finished):
    found = read_inputs(finished)
    title = figures_of(found)["noisy-student-balance"].title
    assert "of the labels for student 3, " in title
    assert title.endswith(" of the same images in truth")
    own = next(e for e in found.evaluation["self_training"] if (e["fold"], e["iteration"]) == (2, 1))
    some = {**own["balance"], "truth": [n - 1 for n in own["balance"]["truth"]]}
    title = figures_of(found, **{"2-1": {"balance": some}})["noisy-student-balance"].title
    assert title.endswith(" of those images whose truth is known")


def test_a_fold_whose_labels_cannot_differ_is_named(finished):
    found = read_inputs(finished)
    assert "fold" not in figures_of(found)["noisy-student-agreement"].title
    own = next(e for e in found.evaluation["self_training"] if (e["fold"], e["iteration"]) == (2, 3))
    only = {**own["balance"], "labels": [0, own["images"]]}
    changes = {"2-2": {"balance": only}, "2-3": {"balance": only, "agreement": 1.0}}
    title = figures_of(found, **changes)["noisy-student-agreement"].title
    assert title.endswith(
        f" of the last labels are those of the round before (fold 2: 100.0{THIN}, as every label is ALL)"
    )
    # Labels of one class after those of two are no such case.
    assert "fold" not in figures_of(found, **{"2-3": changes["2-3"]})["noisy-student-agreement"].title


def test_charts_of_confidence_that_stand_side_by_side_have_one_height(finished):
    made = figures_of(read_inputs(finished))
    specs = [made[f"noisy-student-{name}"].spec for name in ("first", "last")]
    first, last = (spec["layout"]["yaxis"]["range"] for spec in specs)
    assert first == last
    for spec in specs:
        assert max(map(sum, zip(*(trace["y"] for trace in spec["data"]), strict=True))) < last[1]


def test_without_a_filter_nothing_is_said_to_be_kept(finished, both):
    shown = text_of(finished / "site" / "self-training.html")
    assert "No pseudo-label was left out" in shown
    assert not (finished / "site" / "csv" / "pseudo-labels-kept-noisy-student.csv").exists()
    assert "No pseudo-label was left out" not in text_of(both / "site" / "self-training.html")
    headings = [row for t in read_page(both / "site" / "self-training.html").tables for row in t if "Kept, %" in row]
    assert headings


def test_undefined_metrics_leave_out_the_curve_and_keep_the_labels(finished):
    found = read_inputs(finished)
    models = [
        {**m, "metrics": dict.fromkeys(m["metrics"])} if m["kind"] == "iteration" else m
        for m in found.evaluation["models"]
    ]
    page = self_training.page(dataclasses.replace(found, evaluation={**found.evaluation, "models": models}))
    assert "noisy-student-trace" not in page.figures
    assert "noisy-student-right" in page.figures
