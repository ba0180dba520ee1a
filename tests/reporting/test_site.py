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
import pandas as pd
import plotly.graph_objects
import plotly.offline
import pytest

from job.errors import UserError
from job.reporting import site
from job.reporting import trace as tracing
from job.reporting.pages import ensemble, folds, overview
from job.stages import report
from tests.fixtures.run_tree import REPOSITORY, edit_params, run_evidence

from .rendered import edit_json, make_tree, read_inputs, read_page, rename_classes

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


def test_table_3_shows_the_figures_of_the_evaluation_beside_the_published(finished):
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
    shown = rows(finished / "site" / "index.html", "Cell size alone (box area)")[0]
    assert shown[7] == f"{area['metrics']['auroc']:.3f}"
    assert rows(finished / "site" / "index.html", "Always ALL")[0][2:4] == ["100.0", "0.0"]


def test_the_verdict_counts_from_the_confusion_matrices(finished):
    verdict = re.sub(r"\s+", " ", read_page(finished / "site" / "index.html").visible)
    for model in evaluation(finished)["models"]:
        if model["method"] and model["rule"] == "majority":
            (tn, fp), (fn, tp) = model["confusion"]
            assert f"{100 * tp / (tp + fn):.1f} % of the ALL cells" in verdict
            assert f"{100 * tn / (tn + fp):.1f} % of the HEM cells" in verdict
            assert f"On {tn + fp + fn + tp} synthetic test images of {model['subjects']} subjects" in verdict


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.01, 0.4), "uses more than size"),
        ((-0.1, 0.4), "does not show that it uses more than size"),
        ((-0.4, -0.1), "worse than size alone"),
        ((None, None), "so nothing is shown"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_whether_a_model_uses_more_than_size_is_what_the_paired_interval_says(tree, ends, said, turned):
    path = tree / "results" / "differences.csv"
    table = pd.read_csv(path)
    pair = {"efficientnet/majority", "baseline/area"}
    rows = (table["metric"] == "balanced_accuracy") & table["model"].isin(pair) & table["other"].isin(pair)
    assert rows.sum() == 1
    low, high = (-end if turned and end is not None else end for end in (ends[::-1] if turned else ends))
    names = ["baseline/area", "efficientnet/majority"] if turned else ["efficientnet/majority", "baseline/area"]
    table.loc[rows, ["model", "other", "difference", "low", "high"]] = [*names, -0.123 if turned else 0.123, low, high]
    table.to_csv(path, index=False)
    report.run()
    sentence = next(s for s in text_of(tree / "site" / "index.html").split("EfficientNet less cell size: ")[1:])
    assert sentence.startswith("+12.3 points of balanced accuracy; ")
    assert said in sentence[:200]
    if ends[0] is not None:
        first, second = (f"{100 * end:+.1f}".replace("-", "\N{MINUS SIGN}") for end in ends)
        assert f"{first} to {second}:" in sentence


def test_what_was_run_stands_beside_what_the_published_report_ran(tree):
    own = {"weights": "/home/somebody/own.safetensors", "weights_sha256": "0" * 64}
    edit_params(tree, model=own, train={"epochs": 9, "lr_step": 7})
    report.run()
    shown = {row[0]: row[1:] for row in read_page(tree / "site" / "index.html").tables[-1]}
    assert shown["Network"][0].startswith("efficientnet-lite0, weights of the file own.safetensors, dropout")
    assert shown["Network"][1] == "efficientnet-b0, ImageNet weights, dropout 0.5"
    assert shown["Learning rate"] == ["0.001 × 0.1 every 7 epochs"] * 2
    assert "450 × 450" in shown["Images"][1]
    for path in (tree / "site").rglob("*.html"):
        assert "somebody" not in path.read_text(encoding="utf-8")


def test_table_2_shows_folds_mean_and_variance_in_squared_points(finished):
    shown = rows(finished / "site" / "folds.html", "Noisy Student")
    row = next(row for row in shown if row[1] == "Specificity")
    table = evaluation(finished)["table2"]["noisy_student"]["specificity"]
    own = [
        *(f"{100 * value:.1f}" for value in table["folds"]),
        f"{100 * table['mean']:.1f}",
        f"{1e4 * table['variance']:.2f}",
    ]
    assert row[2:] == [*own, "77.2", "1.25"]


def test_table_1_and_confusion_matrices_show_the_counts(finished):
    found = evaluation(finished)
    table = [row for row in read_page(finished / "site" / "data.html").tables[0] if row[0] == "Test"]
    for row, entry in zip(table, [e for e in found["distribution"] if e["role"] == "test"], strict=True):
        assert row[1:5] == [entry["label"], str(entry["patients"]), str(entry["subjects"]), str(entry["images"])]
    assert [row[5:] for row in table] == [["4", "578"], ["11", "1,836"]]
    matrices = [t for t in read_page(finished / "site" / "folds.html").tables if len(t) == 4 and t[1][0] == "Truth"]
    votes = [m for m in found["models"] if m["rule"] == "majority" and m["method"]]
    shown = [[[int(cell.split()[0]) for cell in row[1:]] for row in matrix[2:]] for matrix in matrices]
    assert [vote["confusion"] for vote in votes] == [shown[0], shown[6]]


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", read_page(page).visible)


def test_the_wanted_test_set_stands_beside_the_reached_one(tree):
    page = tree / "site" / "data.html"
    assert "Every number that was wanted is reached exactly." in text_of(page)

    def missed(split):
        split["target"]["ALL"] = {
            "wanted": {"patients": 4, "images": 50}, "reached": {"patients": 3, "images": 52}, "of": 120,
        }  # fmt: skip
        return split

    edit_json(tree / "data" / "split.json", missed)
    report.run()
    assert ["ALL", "4", "3", "50", "52", "120"] in rows(page, "ALL")
    assert "ALL has 1 patient fewer than wanted and ALL has 2 images more than wanted: no set" in text_of(page)

    def unasked(split):
        target = {name: {**entry, "wanted": None} for name, entry in split["target"].items()}
        return {**split, "test": "fraction", "target": target}

    edit_json(tree / "data" / "split.json", unasked)
    report.run()
    assert ["ALL", "–", "3", "–", "52", "120"] in rows(page, "ALL")
    assert "With split.test = fraction no number of patients or images was wanted" in text_of(page)


def test_an_ensemble_that_calls_one_class_only_is_said_to(tree):
    page = tree / "site" / "index.html"
    assert "calls every test cell" not in text_of(page)

    def collapse(found):
        for model in found["models"]:
            if model["role"] == "test" and model["model"] in {"noisy_student/majority", "noisy_student/fold-3"}:
                model["confusion"] = [[0, sum(row)] for row in model["confusion"]]
        return found

    edit_json(tree / "results" / "evaluation.json", collapse)
    report.run()
    assert "The Noisy Student ensemble calls every test cell ALL. 1 of its 5 models does the same." in text_of(page)
    assert "The EfficientNet ensemble calls every test cell" not in text_of(page)


@pytest.mark.parametrize(
    ("right", "balanced", "said"),
    [
        ([0.84, 0.77], [0.8, 0.5], "what confirmation bias looks like"),
        ([0.84, 0.9], [0.7, 0.8], "show no confirmation bias"),
        ([0.84, 0.77], [0.7, 0.8], "do not decide"),
    ],
)
def test_self_training_says_of_confirmation_bias_what_the_numbers_say(finished, right, balanced, said):
    found = read_inputs(finished)
    traced = [m for m in found.evaluation["models"] if m["kind"] == "iteration" and m["iteration"] < 2]
    models = [{**m, "metrics": {**m["metrics"], "balanced_accuracy": balanced[m["iteration"]]}} for m in traced]
    trace = [{**e, "right": right[e["iteration"] - 1]} for e in found.evaluation["self_training"] if e["iteration"] < 3]
    evaluation = {**found.evaluation, "models": models, "self_training": trace}
    (traced_method,) = tracing.traces(dataclasses.replace(found, evaluation=evaluation))
    sentences = " ".join(tracing.explanation(traced_method))
    assert f"{100 * right[0]:.1f}\N{NARROW NO-BREAK SPACE}% and {100 * right[1]:.1f}" in sentences
    masked = [m["confusion"] for m in traced if m["role"] == "masked" and m["iteration"] == 0]
    share = sum(sum(c[1]) for c in masked) / sum(sum(map(sum, c)) for c in masked)
    assert f"in truth {100 * share:.1f}" in sentences
    assert said in sentences


def test_a_curve_that_does_not_move_stays(finished):
    found = read_inputs(finished)
    flat = found.history.assign(validation_loss=0.4, validation_accuracy=0.75)
    page = folds.page(dataclasses.replace(found, history=flat))
    assert page.figures["efficientnet-loss"].title == "EfficientNet: validation loss stays at 0.400"
    assert page.figures["noisy_student-accuracy"].title.endswith("validation accuracy stays at 75.0 %")


def test_curves_say_how_training_values_were_taken_and_what_one_class_gets_right(finished):
    found = read_inputs(finished)
    made = folds.page(found).figures
    taken = "Training values are taken during the epoch, with dropout on"
    assert f"{taken}. The epoch that is kept need not be the last." in made["efficientnet-accuracy"].caption
    assert f"{taken}, and for students against their pseudo-labels. The" in made["noisy_student-loss"].caption
    noisy = found.params.noisy_student.model_copy(update={"train_on": "labelled+pseudo"})
    both = folds.page(dataclasses.replace(found, params=found.params.model_copy(update={"noisy_student": noisy})))
    assert "pseudo-labels and the labels beside them. The" in both.figures["noisy_student-accuracy"].caption
    model = next(m for m in found.evaluation["models"] if m["kind"] == "out_of_fold")
    hem, all_ = map(sum, model["confusion"])
    name = (
        f"Always ALL ({100 * all_ / (hem + all_):.1f} %)"
        if all_ > hem
        else f"Always HEM ({100 * hem / (hem + all_):.1f} %)"
    )
    line = made["efficientnet-accuracy"].spec["data"][-1]
    assert line["name"].replace("\N{NARROW NO-BREAK SPACE}", " ") == name
    assert line["y"] == pytest.approx([100 * max(hem, all_) / (hem + all_)] * 2)
    # Not among losses, and not where nothing is known of the validation images.
    models = [m for m in found.evaluation["models"] if m["kind"] != "out_of_fold"]
    without = folds.page(dataclasses.replace(found, evaluation={**found.evaluation, "models": models})).figures
    for figure in (made["efficientnet-loss"], without["efficientnet-accuracy"]):
        assert not [trace for trace in figure.spec["data"] if trace["name"].startswith("Always")]
        assert "Dotted" not in figure.caption


def test_no_folder_of_the_machine_is_printed(tree):
    parameters = tree / "params.yaml"
    parameters.write_text(parameters.read_text().replace("root: data/raw/demo", "root: /home/somebody/C-NMC"))
    report.run()
    assert rows(tree / "site" / "provenance.html", "data.root") == [["data.root", "C-NMC"]]
    for path in (tree / "site").rglob("*"):
        assert path.suffix not in {".html", ".csv", ".json"} or "somebody" not in path.read_text(encoding="utf-8")


def test_votes_are_counted_from_the_predictions_of_the_folds(finished):
    frame = read_inputs(finished).predictions
    folds = frame[(frame["method"] == "efficientnet") & (frame["kind"] == "fold") & (frame["role"] == "test")]
    votes = folds.groupby("image")["predicted"].agg(lambda labels: labels.value_counts().max())
    with (finished / "site" / "csv" / "votes.csv").open() as handle:
        shown = {r["votes"]: int(r["images"]) for r in csv.DictReader(handle) if r["method"] == "EfficientNet"}
    assert shown == {f"{n}:{5 - n}": int((votes == n).sum()) for n in (5, 4, 3)}
    majority = frame[(frame["model"] == "efficientnet/majority") & (frame["role"] == "test")].set_index("image")
    right = (majority["predicted"] == majority["label"]).reindex(votes.index)
    counts = [(int(right[votes == n].sum()), int((votes == n).sum())) for n in (5, 3)]
    page = ensemble.page(read_inputs(finished))
    assert page.figures["votes"].title == (
        "EfficientNet: right on {} of {} images at 5:0, on {} of {} at 3:2".format(*counts[0], *counts[1])
    )
    # The figure has its numbers under it, and no table has them again.
    headings = [table[0] for table in read_page(finished / "site" / "ensemble.html").tables]
    assert sum("Votes" in heading for heading in headings) == 1


def test_bars_of_votes_lie_so_that_no_count_is_printed_over_another_and_unanimous_ones_are_first(finished):
    found = read_inputs(finished)
    table = found.predictions
    split = (table["model"] == "efficientnet/majority") & table["p_ALL"].between(0.15, 0.35)  # without 4:1 for HEM
    also = (table["model"] == "efficientnet/majority") & table["p_ALL"].between(0.65, 0.85)
    traces = ensemble.page(dataclasses.replace(found, predictions=table[~split & ~also])).figures["votes"].spec["data"]
    assert [(t["orientation"], t["y"]) for t in traces] == [("h", ["5:0", "4:1", "3:2"])] * 2
    assert (traces[0]["x"][1], traces[0]["text"][1]) == (None, "")
    assert traces[1]["text"][1]


def test_csv_files_hold_every_digit_of_the_evaluation(finished):
    with (finished / "site" / "csv" / "table-3-models.csv").open() as handle:
        shown = {row["model"]: row for row in csv.DictReader(handle)}
    for entry in evaluation(finished)["table3"]:
        assert float(shown[entry["name"]]["balanced_accuracy"]) == entry["metrics"]["balanced_accuracy"]


def test_every_page_says_synthetic_only_when_the_data_is(tree):
    pages = sorted((tree / "site").glob("*.html"))
    assert len(pages) == 11
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
    found = read_inputs(root)
    models = [model for model in found.evaluation["models"] if model["kind"] == "baseline"]
    bare = dataclasses.replace(
        found,
        evaluation={
            **found.evaluation,
            "models": models,
            "table2": {},
            "table3": [],
            "calibration": [],
            "patients": [],
        },
    )
    folder = tmp_path / "bare"
    folder.mkdir()
    assert site.render(bare, folder) == ["index.html", "data.html", "method.html", "provenance.html"]


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
        if path.name in {"index.html", "data.html", "folds.html"}:
            assert (name or "(empty name)") in page.visible
    with (tree / "site" / "csv" / "images-by-part.csv").open() as handle:
        assert {row["class"] for row in csv.DictReader(handle)} == {name, "'=cmd()" + name}


def test_a_template_that_names_something_unknown_is_an_error(finished, tmp_path):
    templates = tmp_path / "templates"
    shutil.copytree(REPOSITORY / "report_templates", templates)
    page = templates / "index.html"
    page.write_text(page.read_text().replace("{{ facts.verdict }}", "{{ facts.verdikt }}"))
    with pytest.raises(jinja2.UndefinedError, match="verdikt"):
        site.render(read_inputs(finished), tmp_path, templates)


def test_the_whole_report_holds_every_page_and_its_links_stay_inside(finished):
    folder = finished / "site"
    whole = read_page(folder / "whole.html")
    ids = [attributes["id"] for _, attributes in whole.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    navigation = json.loads((folder / "frame.json").read_text())["navigation"]
    slugs = dict.fromkeys(href.split(".")[0] for href, _ in navigation)
    assert whole.tables == [table for slug in slugs for table in read_page(folder / f"{slug}.html").tables]
    chapters = (folder / "whole.html").read_text(encoding="utf-8").split("<article")[1:]
    links = {link for chapter in chapters for link in re.findall(r'href="([^"]*)"', chapter.split("</article>")[0])}
    assert {"#page-errors", "#machine"} <= links
    assert all(link.startswith("#") or re.fullmatch(r"csv/[\w-]+\.csv", link) for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_same_inputs_give_the_same_bytes(tree):
    before = contents(tree / "site")
    assert report.run() == "10 pages written: open site/index.html"
    assert contents(tree / "site") == before


def test_a_missing_input_names_the_stage_and_keeps_the_old_site(tree):
    (tree / "results" / "history.csv").unlink()
    before = contents(tree / "site")
    with pytest.raises(UserError, match=r"results/history.csv does not exist: run `dvc repro evaluate`"):
        report.run()
    assert contents(tree / "site") == before


def test_every_figure_is_valid_for_plotly_and_carries_its_numbers(finished):
    figures = 0
    for path in {*(finished / "site").glob("*.html")} - {finished / "site" / "whole.html"}:
        text = path.read_text(encoding="utf-8")
        for spec in re.findall(r'<script type="application/json" id="spec-[^"]+">(.*?)</script>', text, re.DOTALL):
            plotly.graph_objects.Figure(json.loads(re.sub(r'"--[a-z0-9-]+"', '"#000000"', spec)))
            figures += 1
        assert text.count("<figure") == text.count("Numbers of this figure")
    assert figures == 24


def test_three_classes_render(tmp_path):
    root = make_tree(tmp_path / "three", classes=("A", "B", "C"), iterations=1, patients=36, folds=(1, 2))
    assert "% of the B cells" in re.sub(r"\s+", " ", read_page(root / "site" / "index.html").visible)
    assert rows(root / "site" / "folds.html", "Truth")[0] == ["Truth", "A", "B", "C"]
    comparison = overview.page(read_inputs(root)).figures["comparison"]
    assert [shape["x0"] for shape in comparison.spec["layout"]["shapes"]] == [pytest.approx(100 / 3)]
    assert comparison.height == "medium"  # six rows, of which some hold a vote below its folds


def test_the_report_needs_no_torch():
    code = "import sys, job.stages.report, job.commands.site; print('torch' in sys.modules, 'plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.split() == ["False", "False"]


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


def test_pseudo_labels_of_images_that_never_had_a_label_are_not_called_right_or_wrong(tree):
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
    assert {entry["right"] for entry in evaluation(tree)["self_training"]} == {None}
    assert {entry["images"] for entry in evaluation(tree)["self_training"]} == {len(pool)}
    shown = text_of(tree / "site" / "self-training.html")
    assert "Nobody knows how many pseudo-labels are right" in shown
    assert "in truth" not in shown
