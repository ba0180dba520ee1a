import csv
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import plotly.offline
import pytest
import sklearn.metrics
from ruamel.yaml import YAML

from job.errors import UserError
from job.reporting import site
from job.reporting.pages import curves, data, decisions, overview, performance, self_training
from job.stages import evaluate, report
from tests.fixtures.run_tree import REPOSITORY, edit_params, run_evidence

from .rendered import edit_json, make_tree, plain, read_inputs, read_page, rename_classes, said

HOSTILE = {
    "markup": "<img src=x onerror=\"document.title='executed'\">",
    "script": "\"></script><script>document.title='executed'</script>",
    "template": "{{ 7 * 7 }}<!--",
    "arabic": "خلية" * 50,
    "emoji": "🩸",
    "empty": "",
}


def evaluation(root: Path) -> dict:
    return json.loads((root / "results" / "evaluation.json").read_text())


def rows(page: Path, first: str) -> list[list[str]]:
    """The rows of every table of a page whose first cell is `first`."""
    return [row for table in read_page(page).tables for row in table if row and row[0] == first]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_of_models_shows_the_figures_of_the_evaluation_beside_the_published(finished):
    published = {
        "efficientnet": ["89.1", "90.1", "85.8", "95.3", "92.6"],
        "noisy_student": ["90.9", "95.9", "75.3", "92.5", "94.1"],
    }
    for entry in evaluation(finished)["table3"]:
        m = entry["metrics"]
        shown = rows(finished / "site" / "index.html", entry["name"])[0]
        percentages = [m[k] for k in ("accuracy", "sensitivity", "specificity", "ppv", "f1", "balanced_accuracy")]
        assert shown[1:8] == [*(f"{100 * value:.1f}" for value in percentages), f"{m['auroc']:.3f}"]
        if entry["kind"] == "ensemble":
            assert shown[8:] == published[entry["method"]]


def test_baselines_stand_in_the_same_table(finished):
    area = next(m for m in evaluation(finished)["models"] if m["model"] == "baseline/area")
    shown = rows(finished / "site" / "index.html", "Cell size alone (box area)")[-1]
    assert shown[7] == f"{area['metrics']['auroc']:.3f}"
    assert rows(finished / "site" / "index.html", "Always ALL")[0][2:4] == ["100.0", "0.0"]


def test_the_headline_counts_from_the_confusion_matrices(finished):
    shown = text_of(finished / "site" / "index.html")
    for model in evaluation(finished)["models"]:
        if model["method"] and model["rule"] == "majority":
            (tn, fp), (fn, tp) = model["confusion"]
            assert f"{100 * tp / (tp + fn):.1f} % of the ALL cells ({tp} of {tp + fn})" in shown
            assert f"{100 * tn / (tn + fp):.1f} % of the HEM cells ({tn} of {tn + fp})" in shown
            assert f"{tn + fp + fn + tp} test images of {model['subjects']} patients" in shown
            per_patient = model["by_subject"]["balanced_accuracy"]
            value, low, high = (f"{100 * per_patient[key]:.1f} %" for key in ("value", "low", "high"))
            assert f"{value} balanced accuracy per patient, 95 % interval {low} to {high}" in shown
            assert f"Per cell, its balanced accuracy is {100 * model['metrics']['balanced_accuracy']:.1f} %." in shown


def test_intervals_belong_to_figures_per_patient(finished):
    shown = {row[0]: row for row in read_page(finished / "site" / "index.html").tables[0]}
    for model in evaluation(finished)["models"]:
        if model["model"] == "efficientnet/majority":
            own = model["by_subject"]["balanced_accuracy"]
            expected = [f"{100 * own[key]:.1f}" for key in ("value", "low", "high")]
            assert shown["EfficientNet"][1:5] == [str(model["subjects"]), *expected]


@pytest.mark.parametrize(
    ("difference", "p_holm", "good", "verdict", "end"),
    [
        (0.123, 0.0004, "For", "EfficientNet uses more than cell size", "p < 0.001, corrected for {} comparisons)."),
        (0.123, 0.0596, "Against", "Not shown that EfficientNet uses more than cell size", "p = 0.06, corrected"),
        (-0.123, 0.01, "Against", "EfficientNet is worse than cell size alone", "p = 0.01, corrected for {}"),
        (0.123, None, "Against", "Not shown that EfficientNet uses more than cell size", "too few patients, or none"),
    ],
)
def test_a_model_uses_more_than_size_where_the_corrected_comparison_says_so(
    finished, difference, p_holm, good, verdict, end
):
    found = read_inputs(finished)
    table = found.differences.copy()
    rows = (table["model"] == "efficientnet/majority") & (table["other"] == "baseline/area")
    rows &= table["metric"] == "balanced_accuracy"
    assert rows.sum() == 1
    ends = [0.01, 0.4] if difference > 0 else [-0.4, -0.01]  # the interval of this comparison alone excludes zero
    keys = ["difference", "low", "high", "p_holm", "positive", "negative", "subjects"]
    table.loc[rows, keys] = [difference, *(ends if p_holm else [None, None]), p_holm, 10, 2, 15]
    shown = said(overview.page, dataclasses.replace(found, differences=table)).replace("\N{MINUS SIGN}", "-")
    reason = f"{good}: {verdict}: {100 * difference:+.1f} points of balanced accuracy; better in 10 patients, "
    reason += "equal in 3, worse in 2"
    interval = f"(95 % interval by itself {100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}; "
    between = ", which can be chance " if p_holm and p_holm > 0.05 else " " if p_holm else "; "
    assert f"{reason}{between}{interval if p_holm else ''}{end.format(table['p'].count())}" in shown


def test_nothing_is_said_of_cell_size_where_pictures_have_no_black(finished):
    found = read_inputs(finished)
    assert found.sizes_known
    table = found.predictions.copy()
    table.loc[table["model"] == "baseline/area", ["p_HEM", "p_ALL"]] = 0.5
    shown = said(overview.page, dataclasses.replace(found, predictions=table))
    assert "uses more than cell size" not in shown
    assert "Against: Cells are not compared with their size: most pictures have no black around them." in shown


def test_what_another_metric_shows_is_said_where_balanced_accuracy_shows_nothing(finished):
    found = read_inputs(finished)
    table = found.differences.assign(p_holm=0.5)
    rows = (table["model"] == "efficientnet/majority") & (table["other"] == "baseline/area")
    assert " a difference is shown" not in said(overview.page, dataclasses.replace(found, differences=table))
    keys = ["difference", "low", "high", "p_holm"]
    table.loc[rows & (table["metric"] == "specificity"), keys] = [-0.103, -0.149, -0.058, 0.006]
    shown = said(overview.page, dataclasses.replace(found, differences=table)).replace("\N{MINUS SIGN}", "-")
    expected = "In specificity a difference is shown: -10.3 points (95 % interval by itself -14.9 to -5.8; p = 0.006)."
    assert expected in shown


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (None, "With EfficientNet no confidence is high enough."),
        ({"kept": 0, "error": None}, "With EfficientNet no test cell remains."),
        ({"kept": 9, "error": 0.177}, "On the test set 17.7 % are, with EfficientNet."),
        ({"kept": 9, "error": 0.05}, ""),
    ],
)
def test_a_share_of_errors_that_the_test_set_does_not_keep_is_told(finished, chosen, sentence):
    found = read_inputs(finished)
    entry = found.evaluation["abstention"][0]
    kept = entry["chosen"] or {"validation": {}, "test": {}}
    entry = entry | {"chosen": chosen and {part: value | chosen for part, value in kept.items()}}
    evaluation = found.evaluation | {"abstention": [entry]}
    shown = said(decisions.page, dataclasses.replace(found, evaluation=evaluation)).replace(
        "\N{NARROW NO-BREAK SPACE}", " "
    )
    promise = "at most 5.0 % of the predictions that remain are wrong."
    assert f"{promise} {sentence}".strip() in shown
    assert bool(sentence) == ("EfficientNet" in shown.split(promise)[1][:60])


def test_patients_whose_cells_are_mostly_called_wrong_are_counted(finished):
    found = read_inputs(finished)
    (entry,) = [e for e in found.evaluation["patients"] if (e["model"], e["role"]) == ("efficientnet/majority", "test")]
    wrong = {name: [row["accuracy"] < 0.5 for row in entry["subjects"] if row["truth"][n]]
             for n, name in enumerate(found.classes)}  # fmt: skip
    counts = [f"in {sum(wrong[name])} of {len(wrong[name])} {name} patients" for name in ("ALL", "HEM")]
    assert f"More cells wrong than right: {' and '.join(counts)}." in said(overview.page, found)


def test_what_was_run_stands_beside_what_the_published_report_ran(tree):
    own = {"weights": "/home/somebody/own.safetensors", "weights_sha256": "0" * 64}
    edit_params(tree, model=own, train={"epochs": 9, "learning_rate": 0.001, "schedule": "step", "lr_step": 7})
    report.run()
    shown = {row[0]: row[1:] for row in read_page(tree / "site" / "index.html").tables[-1]}
    assert shown["Network"][0].startswith("efficientnet-lite0, weights of the file own.safetensors, dropout")
    assert shown["Network"][1] == "efficientnet-b0, ImageNet weights, dropout 0.5"
    assert shown["Learning rate"] == ["0.001 × 0.1 every 7 epochs"] * 2
    assert "450 × 450" in shown["Images"][1]
    for path in (tree / "site").rglob("*.html"):
        assert "somebody" not in path.read_text(encoding="utf-8")


def test_the_table_of_folds_shows_folds_mean_variance_in_squared_points_and_vote(finished):
    shown = rows(finished / "site" / "performance.html", "Noisy Student")
    row = next(row for row in shown if row[1] == "Specificity")
    table = evaluation(finished)["table2"]["noisy_student"]["specificity"]
    vote = next(m for m in evaluation(finished)["models"] if m["model"] == "noisy_student/majority")
    ours = [*(f"{100 * value:.1f}" for value in table["folds"]), f"{100 * table['mean']:.1f}"]
    ours += [f"{1e4 * table['variance']:.2f}", f"{100 * vote['metrics']['specificity']:.1f}"]
    assert row[2:] == [*ours, "77.2", "1.25"]


def test_the_distribution_and_the_errors_show_the_counts(finished):
    found = evaluation(finished)
    table = [row for row in read_page(finished / "site" / "data.html").tables[0] if row[0] == "Test"]
    for row, entry in zip(table, [e for e in found["distribution"] if e["role"] == "test"], strict=True):
        assert row[1:5] == [entry["label"], str(entry["patients"]), str(entry["subjects"]), str(entry["images"])]
    assert [row[5:] for row in table] == [["4", "578"], ["11", "1,836"]]
    matrices = rows(finished / "site" / "errors.html", "EfficientNet")
    vote = next(m for m in found["models"] if m["model"] == "efficientnet/majority")
    assert [[int(cell) for cell in row[5:7]] for row in matrices] == vote["confusion"]


def slugs(root: Path) -> list[str]:
    """The pages of a site, in the order of its navigation."""
    return [href.removesuffix(".html") for href, _ in json.loads((root / "site/frame.json").read_text())["navigation"]]


def text_of(page: Path) -> str:
    return plain(read_page(page).visible)


def test_the_page_says_whether_the_test_set_has_its_target_numbers(finished):
    found = read_inputs(finished)
    assert ", exactly its target. Of ALL the test set has" in said(data.page, found)
    entry = {"wanted": {"patients": 4, "images": 50}, "reached": {"patients": 3, "images": 52}, "of": 120}
    missed = {**found.split, "target": {**found.split["target"], "ALL": entry}}
    shown = said(data.page, dataclasses.replace(found, split=missed))
    assert "Of ALL the test set has 3 patients and 52 images for a target of 4 and 50: no set of whole" in shown
    unasked = {**found.split, "target": {name: {**e, "wanted": None} for name, e in found.split["target"].items()}}
    assert "target" not in said(data.page, dataclasses.replace(found, split=unasked))


def test_a_collapsed_method_is_said_to_be_and_leaves_the_pages_of_cells(tree):
    page = tree / "site" / "index.html"
    assert "has collapsed" not in text_of(page)

    def collapse(found):
        for model in found["models"]:
            if model["role"] == "test" and model["model"] in {"noisy_student/majority", "noisy_student/fold-3"}:
                model["confusion"] = [[0, sum(row)] for row in model["confusion"]]
        return found

    edit_json(tree / "results" / "evaluation.json", collapse)
    report.run()
    sentence = "Noisy Student has collapsed: its vote predicts ALL for every test cell, and so tells none apart."
    assert f"{sentence} 1 of its 5 models does the same." in text_of(page)
    assert "EfficientNet has collapsed" not in text_of(page)
    for name in ("errors", "performance"):
        shown = text_of(tree / "site" / f"{name}.html")
        assert "Noisy Student predicts one class for every cell" in shown
        assert "figure-strip-noisy-student" not in (tree / "site" / f"{name}.html").read_text()
    galleries = re.findall(r'<h2 id="cells-(.*?)"', (tree / "site" / "errors.html").read_text())
    assert galleries == ["efficientnet"]


@pytest.mark.parametrize(
    ("correct", "balanced", "reading"),
    [
        ([0.84, 0.77], [0.8, 0.5], "so would confirmation bias look"),
        ([0.84, 0.9], [0.7, 0.8], "neither got worse"),
        ([0.84, 0.77], [0.7, 0.8], "do not decide"),
    ],
)
def test_self_training_says_of_confirmation_bias_what_the_numbers_say(finished, correct, balanced, reading):
    found = read_inputs(finished)
    traced = [m for m in found.evaluation["models"] if m["kind"] == "iteration" and m["iteration"] < 2]
    models = [m for m in found.evaluation["models"] if m["kind"] != "iteration"]
    models += [{**m, "metrics": {**m["metrics"], "balanced_accuracy": balanced[m["iteration"]]}} for m in traced]
    entries = [e for e in found.evaluation["self_training"] if e["iteration"] < 3]
    trace = [{**e, "correct": correct[e["iteration"] - 1]} for e in entries]
    evaluation = {**found.evaluation, "models": models, "self_training": trace}
    shown = said(self_training.page, dataclasses.replace(found, evaluation=evaluation))
    assert reading in shown


def test_curves_are_named_by_their_best_epoch(finished):
    found = read_inputs(finished)
    history = found.history.assign(validation_accuracy=found.history["epoch"].map({1: 0.6, 2: 0.8, 3: 0.75, 4: 0.7}))
    title = curves.learning(dataclasses.replace(found, history=history), "noisy_student").title
    end = "highest in epoch 2, at 80.0 % (the last is 4, at 70.0 %)"
    assert plain(title) == f"Noisy Student, student 3: validation accuracy is {end}"


def test_curves_say_how_training_values_were_taken_and_what_one_class_gets(finished):
    found = read_inputs(finished)
    taken = "Training values are taken during the epoch, with dropout on"
    shown = said(performance.page, found)
    assert shown.count(f"{taken}. ") == 1
    assert shown.count(f"{taken}, and for students against their pseudo-labels. ") == 1
    noisy = found.params.noisy_student.model_copy(update={"train_on": "labelled+pseudo"})
    both = dataclasses.replace(found, params=found.params.model_copy(update={"noisy_student": noisy}))
    assert "pseudo-labels and the labels beside them. " in said(performance.page, both)
    model = next(m for m in found.evaluation["models"] if m["kind"] == "out_of_fold")
    counts = dict(zip(("HEM", "ALL"), map(sum, model["confusion"]), strict=True))
    largest = max(counts, key=counts.get)
    share = 100 * counts[largest] / sum(counts.values())
    made = curves.learning(found, "efficientnet")
    assert plain(made.caption) == f"Dotted across: always predicting {largest}, {share:.1f} %."
    assert list(made.plot.data[-1].y) == pytest.approx([share] * 2)


def test_no_folder_of_the_machine_is_printed(tree):
    parameters = tree / "params.yaml"
    parameters.write_text(parameters.read_text().replace("root: data/raw/demo", "root: /home/somebody/C-NMC"))
    report.run()
    assert rows(tree / "site" / "appendix.html", "data.root") == [["data.root", "C-NMC"]]
    for path in (tree / "site").rglob("*"):
        assert path.suffix not in {".html", ".csv", ".json"} or "somebody" not in path.read_text(encoding="utf-8")


def test_votes_are_those_of_the_folds(finished):
    frame = read_inputs(finished).predictions
    folds = frame[(frame["method"] == "efficientnet") & (frame["kind"] == "fold") & (frame["role"] == "test")]
    votes = folds.groupby("image")["predicted"].agg(lambda labels: labels.value_counts().max())
    majority = frame[(frame["model"] == "efficientnet/majority") & (frame["role"] == "test")].set_index("image")
    wrong = (majority["predicted"] != majority["label"]).reindex(votes.index)
    with (finished / "site" / "csv" / "risk-coverage.csv").open() as handle:
        shown = [row for row in csv.DictReader(handle) if (row["method"], row["by"]) == ("efficientnet", "agreement")]
    at_least = [votes >= n for n in (5, 4, 3)]
    assert [[int(row["kept"]), int(row["errors"])] for row in shown] == [[sum(k), sum(wrong[k])] for k in at_least]


def test_rules_of_the_vote_stand_beside_the_folds_on_validation_images(finished):
    with (finished / "site" / "csv" / "vote-rules.csv").open() as handle:
        shown = {(row["method"], row["rule"]): row for row in csv.DictReader(handle)}
    models = {(m["model"], m["role"]): m for m in evaluation(finished)["models"]}
    for rule, name, role in (
        ("mean", "Mean probability", "test"),
        ("out_of_fold", "Validation, out of fold", "validation"),
    ):
        model, row = models[f"noisy_student/{rule}", role], shown["noisy_student", name]
        for metric in ("balanced_accuracy", "auroc", "auprc", "brier"):
            assert float(row[f"metrics.{metric}"]) == model["metrics"][metric]
        assert float(row["by_subject.auroc.low"]) == model["by_subject"]["auroc"]["low"]


def test_csv_files_hold_every_digit_of_the_evaluation(finished):
    with (finished / "site" / "csv" / "models.csv").open() as handle:
        shown = {row["model"]: row for row in csv.DictReader(handle)}
    for entry in evaluation(finished)["table3"]:
        assert float(shown[entry["name"]]["balanced_accuracy"]) == entry["metrics"]["balanced_accuracy"]


def test_every_page_says_synthetic_only_when_the_data_is(tree):
    pages = sorted((tree / "site").glob("*.html"))
    assert {page.stem for page in pages} == {"whole", *slugs(tree)}
    for page in pages:
        assert "Synthetic data." in read_page(page).visible
    edit_json(tree / "results" / "evaluation.json", lambda found: {**found, "synthetic": False, "name": "C-NMC 2019"})
    report.run()
    for page in (tree / "site").glob("*.html"):
        assert "ynthetic" not in read_page(page).visible


def test_pages_without_data_are_left_out_of_site_and_navigation(tmp_path):
    root = make_tree(tmp_path / "one", methods=("efficientnet",), folds=(1, 2))
    assert not (root / "site" / "self-training.html").exists()
    for page in (root / "site").glob("*.html"):
        links = [attributes["href"] for tag, attributes in read_page(page).tags if tag == "a"]
        local = [link.split("#")[0] for link in links if not link.startswith("#")]
        assert all((root / "site" / link).is_file() for link in local)


def test_images_of_unknown_patients_have_a_report_without_intervals_over_patients(tree):
    edit_json(tree / "data" / "prepared" / "summary.json", lambda summary: summary | {"patients_known": False})
    evaluate.run()
    report.run()
    assert "patients unknown" in read_page(tree / "site" / "data.html").visible
    front = read_page(tree / "site" / "index.html").visible
    assert "balanced accuracy per image" in front
    assert "the intervals are too narrow" in front
    for page in ("index", "performance", "decisions", "self-training"):
        visible = read_page(tree / "site" / f"{page}.html").visible
        assert not re.search(r"per patient|\d test patients|\d patients|in \d+ patients", visible), page
    assert "The common error takes cells for independent" not in read_page(tree / "site" / "method.html").visible


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_are_shown_and_execute_nothing(tree, kind):
    name = HOSTILE[kind]
    rename_classes(tree, {"HEM": name, "ALL": "=cmd()" + name})
    prepared = tree / "data" / "prepared" / "summary.json"
    summary = json.loads(prepared.read_text())
    summary["copies"] = {"groups": 1, "images": 2, "across_patients": 1, "linked_patients": [[name, "1"]]}
    summary |= {"warnings": [name], "rejected": 60, "patients_known": False}
    summary["reasons"] = [{"reason": name, "files": 60}]
    summary["refusals"] = [{"file": name, "reason": name}]
    prepared.write_text(json.dumps(summary))
    parameters = tree / "params.yaml"
    title = json.dumps("T" + name[:119], ensure_ascii=False)
    parameters.write_text(re.sub(r"  title: .*", lambda _: f"  title: {title}", parameters.read_text()))
    report.run()
    for path in (tree / "site").glob("*.html"):
        page = read_page(path)
        assert not [tag for tag, _ in page.tags if tag in {"iframe", "object", "embed"}]
        pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
        assert all(re.fullmatch(r"(cells/\d+(-map)?\.webp|images/cells-\d+\.png)", source) for source in pictures)
        assert all((tree / "site" / picture).is_file() for picture in pictures)
        assert "Patients unknown." in page.visible
        assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
        for tag, attributes in page.tags:
            if tag == "script":
                assert (
                    attributes.get("src") in {"assets/fonts.js", "assets/report.js"}
                    or attributes["type"] == "application/json"
                )
        if path.name in {"index.html", "data.html", "performance.html"}:
            assert (name or "(empty name)") in page.visible
    with (tree / "site" / "csv" / "errors-by-class.csv").open() as handle:
        assert {row["label"] for row in csv.DictReader(handle)} == {name, "'=cmd()" + name}


def test_a_template_that_names_something_unknown_is_an_error(finished, tmp_path):
    templates = tmp_path / "templates"
    shutil.copytree(REPOSITORY / "report_templates", templates)
    page = templates / "index.html"
    page.write_text(page.read_text().replace("facts.inputs.methods", "facts.inputs.clases"))
    with pytest.raises(jinja2.UndefinedError, match="clases"):
        site.render(read_inputs(finished), tmp_path, templates)


def test_the_whole_report_holds_every_page_and_its_links_stay_inside(finished):
    folder = finished / "site"
    whole = read_page(folder / "whole.html")
    ids = [attributes["id"] for _, attributes in whole.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert whole.tables == [table for slug in slugs(finished) for table in read_page(folder / f"{slug}.html").tables]
    chapters = (folder / "whole.html").read_text(encoding="utf-8").split("<article")[1:]
    links = {link for chapter in chapters for link in re.findall(r'href="([^"]*)"', chapter.split("</article>")[0])}
    assert {"#page-errors", "#experiments"} <= links
    assert all(link.startswith("#") or re.fullmatch(r"csv/[\w-]+\.csv", link) for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_same_inputs_give_the_same_bytes(tree):
    before = contents(tree / "site")
    assert report.run() == f"{len(slugs(tree))} pages written: open site/index.html"
    assert contents(tree / "site") == before


def test_a_missing_input_names_the_stage_and_keeps_the_old_site(tree):
    (tree / "results" / "history.csv").unlink()
    before = contents(tree / "site")
    with pytest.raises(UserError, match=r"results/history.csv does not exist: run `dvc repro`"):
        report.run()
    assert contents(tree / "site") == before


def test_every_figure_is_drawn_from_the_table_under_it(finished):
    """Every number of a figure is in its table, but for guides, and for the places of dots within a row."""
    inputs = read_inputs(finished)
    figures = {name: figure for make in site.PAGES for name, figure in make(inputs).figures.items()}
    content = (finished / "site" / "whole.html").read_text(encoding="utf-8")
    for name, figure in figures.items():
        assert f'id="figure-{name}"' in content
        known = {round(v, 3) for row in figure.table.rows for v in row if isinstance(v, int | float)}
        known |= {round(100 * value, 3) for value in known}
        for trace in figure.plot.data:
            value = trace.x if name in {"forest", "folds", "gain"} or name.startswith("strip") else trace.y
            drawn = [round(v, 3) for v in value if isinstance(v, int | float)]
            single = trace.opacity == 0.55 or name.startswith(("strip", "folds", "forest", "gain"))
            if single and trace.name not in {"Guessing", "Always", "As it says"}:
                assert all(any(abs(v - k) < 0.051 for k in known) for v in drawn), (name, trace.name)
    assert content.count("<figure") == content.count('class="plot"') == len(figures)


def test_a_method_has_one_colour_on_all_pages_and_baselines_are_grey(finished):
    inputs = read_inputs(finished)
    colours: dict[str, set] = {}
    for make in site.PAGES:
        for figure in make(inputs).figures.values():
            for trace in figure.plot.data:
                for name in ("EfficientNet", "Noisy Student", "Cell size alone"):
                    if trace.name.startswith(name):
                        style = trace.marker.line.color or trace.line.color
                        colours.setdefault(name, set()).add(style)
    assert colours == {
        "EfficientNet": {"var(--series-1)"}, "Noisy Student": {"var(--series-2)"}, "Cell size alone": {"var(--muted)"},
    }  # fmt: skip


def test_roc_curves_are_those_of_scikit_learn(finished):
    found = read_inputs(finished)
    roc = curves.roc(found)["roc"]
    mean = found.rows_of("efficientnet/mean")
    false_alarms, sensitivity, _ = sklearn.metrics.roc_curve(mean["label"] == "ALL", mean["p_ALL"])
    at = np.array(roc.table.values("at"))
    shown = np.array(roc.table.values("efficientnet/mean"))
    for x, y in zip(false_alarms, sensitivity, strict=True):
        assert shown[np.isclose(at, x)][0] >= y - 1e-12
    area = (shown[:-1] * np.diff(at)).sum()
    assert area == pytest.approx(sklearn.metrics.roc_auc_score(mean["label"] == "ALL", mean["p_ALL"]))
    precision = curves.roc(found)["precision-recall"].table
    expected = sklearn.metrics.average_precision_score(mean["label"] == "ALL", mean["p_ALL"])
    assert np.mean(precision.values("efficientnet/mean")) == pytest.approx(expected, abs=0.02)


def test_a_method_that_predicts_one_class_leaves_votes_patients_and_explorers(finished):
    found = read_inputs(finished)
    models = [
        m | {"confusion": [[0, sum(m["confusion"][0])], [0, sum(m["confusion"][1])]]}
        if m["model"] == "noisy_student/majority"
        else m
        for m in found.evaluation["models"]
        if not m["model"].startswith("across/")  # the evidence has no joint vote of one method
    ]
    page = performance.page(dataclasses.replace(found, evaluation={**found.evaluation, "models": models}))
    assert {row[0] for row in page.tables["rules"].rows} == {"efficientnet"}
    assert page.facts["inputs"].collapsed == ["noisy_student"]
    assert [explorer["name"] for explorer in page.facts["explorers"]] == ["EfficientNet"]
    assert [name for name in page.figures if name.startswith("strip-")] == ["strip-efficientnet"]


def test_the_foot_of_every_page_says_who_made_this_which_version_and_under_which_licence(finished):
    cited = YAML(typ="safe").load(REPOSITORY / "CITATION.cff")
    for path in (finished / "site").glob("*.html"):
        shown = text_of(path)
        assert f"{cited['authors'][0]['name']}: {cited['title']}, version {cited['version']}" in shown
        assert f"{cited['license']}. Please cite it so" in shown


def test_the_first_heading_is_the_finding_and_the_subject_disjoint_reference_stands_beside_the_report(finished):
    heading = re.search(r"<h1>(.*?)</h1>", (finished / "site" / "index.html").read_text())[1]
    votes = [
        next(m for m in evaluation(finished)["models"] if m["model"] == f"{name}/majority")
        for name in ("efficientnet", "noisy_student")
    ]
    first, second = (f"{100 * vote['by_subject']['balanced_accuracy']['value']:.1f} %" for vote in votes)
    expected = f"EfficientNet reaches {first} balanced accuracy per patient and Noisy Student reaches {second}"
    assert plain(heading) == f"On synthetic cells, {expected}"
    for name in ("index", "performance"):
        shown = text_of(finished / "site" / f"{name}.html")
        assert "an AUROC of 0.913, a sensitivity of 87.0 % and a specificity of 80.0 % (arXiv:2606.24944)" in shown


def test_three_classes_render(tmp_path):
    root = make_tree(tmp_path / "three", classes=("A", "B", "C"), iterations=1, patients=36, folds=(1, 2))
    assert "% of the B cells" in text_of(root / "site" / "index.html")
    matrices = rows(root / "site" / "errors.html", "EfficientNet")
    assert [row[1] for row in matrices] == ["A", "B", "C"]
    vote = next(m for m in evaluation(root)["models"] if m["model"] == "efficientnet/majority")
    assert [[int(cell) for cell in row[5:8]] for row in matrices] == vote["confusion"]
    forest = overview.page(read_inputs(root)).figures["forest"].plot
    assert [shape.x0 for shape in forest.layout.shapes] == [pytest.approx(100 / 3)]
    assert "figure-roc" not in (root / "site" / "performance.html").read_text()


def test_the_report_needs_no_torch():
    code = "import sys, job.stages.report, job.commands.site; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.split() == ["False"]


def test_vendored_files_are_the_published_ones():
    vendor = REPOSITORY / "report_templates" / "vendor"
    digests = {
        "plotly-basic.min.js": "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba",
        "source-sans-3.woff2": "7a19a7027e125257d310c6dbd78ae3a30b5ea1e3794d60b12bb28227a003bfda",
        "source-serif-4.woff2": "382475f38242c52d42a3e5ff8dc69b5d73f10d0d21e4550b5fe232984688779a",
    }
    for name, digest in digests.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
        assert (vendor / name.replace(".min.js", ".LICENSE").replace(".woff2", ".LICENSE")).is_file()
    version = plotly.offline.get_plotlyjs_version()
    assert f"plotly.js (basic - minified) v{version}\n" in (vendor / "plotly-basic.min.js").read_text()[:200]


def test_pseudo_labels_of_images_that_never_had_a_label_are_neither_correct_nor_wrong(tree):
    edit_params(tree, split={"unlabelled": "pool"})
    split = pd.read_csv(tree / "data" / "split.csv", keep_default_na=False, dtype=str)
    split["pool"] = (split["role"] == "unlabelled").astype(int)
    split.to_csv(tree / "data" / "split.csv", index=False)
    pool = split.loc[split["pool"] == 1, "image"]
    for path in (tree / "runs").glob("noisy_student/fold-*/iterations/*/pseudo_labels.csv"):
        labels = {"image": pool, "label": ["ALL", "HEM"] * (len(pool) // 2), "confidence": 0.75, "times": 1}
        pd.DataFrame(labels).to_csv(path, index=False)
    run_evidence(tree)
    report.run()
    assert {entry["correct"] for entry in evaluation(tree)["self_training"]} == {None}
    assert {entry["images"] for entry in evaluation(tree)["self_training"]} == {len(pool)}
    shown = text_of(tree / "site" / "self-training.html")
    assert "Nobody knows how many labels are correct" in shown
    table = self_training.page(read_inputs(tree)).figures["noisy-student-turns"].table
    assert set(table.values("truths.1")) == {None}
