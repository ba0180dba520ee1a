"""What the pages of errors, decisions, experiments and method say is what the files say."""

import csv
import dataclasses
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from job.commands import revisions, site
from job.contracts.names import one_person
from job.evaluation import gallery
from job.reporting import cells
from job.reporting.pages import decisions, errors, patients
from job.reporting.pseudonyms import pseudonymous
from job.stages import report
from tests.fixtures.run_tree import REPOSITORY, edit_params

from .rendered import edit_json, make_tree, plain, read_inputs, read_page
from .test_site import evaluation, rows, text_of


def read_csv(root, name):
    with (root / "site" / "csv" / f"{name}.csv").open() as handle:
        return list(csv.DictReader(handle))


def predictions(root):
    return pd.read_csv(root / "results" / "predictions.csv", keep_default_na=False)


def test_errors_are_those_of_the_confusion_matrices(finished):
    for method, name in (("efficientnet", "EfficientNet"), ("noisy_student", "Noisy Student")):
        model = next(m for m in evaluation(finished)["models"] if m["model"] == f"{method}/majority")
        (tn, fp), (fn, tp) = model["confusion"]
        shown = {row[1]: row[2:7] for row in rows(finished / "site" / "errors.html", name) if len(row) == 10}
        assert shown == {
            "HEM": [str(tn + fp), str(fp), f"{100 * fp / (tn + fp):.1f}", str(tn), str(fp)],
            "ALL": [str(tp + fn), str(fn), f"{100 * fn / (tp + fn):.1f}", str(fn), str(tp)],
        }
        shown = text_of(finished / "site" / "errors.html")
        assert not fn or f"Missed ALL cells: {fn} of {tp + fn}" in shown
        assert not fp or f"False alarms: {fp} of {tn + fp} HEM cells" in shown


def test_the_gallery_holds_the_surest_errors_and_the_closest_calls(finished):
    frame = predictions(finished)
    chosen = gallery.cells(frame, ["efficientnet"], ["HEM", "ALL"], 3)
    tested = frame[frame["role"] == "test"]
    votes = tested[tested["model"] == "efficientnet/majority"].set_index("image")
    mean = tested[tested["model"] == "efficientnet/mean"].set_index("image")
    missed = votes.index[(votes["label"] == "ALL") & (votes["predicted"] == "HEM")]
    wrong = chosen[(chosen["group"] == "error") & (chosen["label"] == "ALL")]
    assert list(wrong["image"]) == list(mean.loc[missed, "p_HEM"].sort_values(ascending=False).index[:3])
    assert set(wrong["of"]) == {len(missed)}
    right = chosen[(chosen["group"] == "correct") & (chosen["label"] == "ALL")]
    found = votes.index[(votes["label"] == "ALL") & (votes["predicted"] == "ALL")]
    assert list(right["image"]) == list(mean.loc[found, "p_ALL"].sort_values(ascending=False).index[:3])
    close = chosen[chosen["group"] == "uncertain"]["image"]
    assert list(close) == list((mean["p_HEM"] - 0.5).abs().sort_values().index[:3])


def test_without_patients_no_cell_is_said_to_be_of_one(finished):
    found = read_inputs(finished)
    assert "patients" in [column.key for column in errors.page(found).tables["counts"].columns]
    unknown = {**found.prepared, "patients_known": False}
    for pseudonym in ("", "Patient 1"):
        changed = dataclasses.replace(found, prepared=unknown, predictions=found.predictions.assign(patient=pseudonym))
        assert patients.strips(changed) == {}
        assert "patients" not in [column.key for column in errors.page(changed).tables["counts"].columns]
    # Where only some are known, the others are nobody's.
    some = found.predictions["patient"].where(found.predictions["label"] == "ALL", "")
    changed = dataclasses.replace(found, predictions=found.predictions.assign(patient=some))
    assert all("(ALL)" in name for name in patients.strips(changed)["strip-efficientnet"].plot.layout.yaxis.ticktext)
    assert [row[-2:] for row in errors.page(changed).tables["counts"].rows if row[1] == "HEM"] == [[0, 0]] * 2


def test_a_card_says_votes_and_mean_probability_apart_and_how_often_they_differ(finished):
    """`HEM by 4 of 5, probability 49.8 %` reads as a contradiction."""
    said, frame = text_of(finished / "site" / "errors.html"), predictions(finished)
    tested = frame[frame["role"] == "test"]
    vote, mean = (tested[tested["model"] == f"efficientnet/{rule}"].set_index("image") for rule in ("majority", "mean"))
    differ = int((vote["predicted"] != mean["predicted"].reindex(vote.index)).sum())
    note = f"EfficientNet: on {differ} of {len(vote)} test cells the vote and the mean probability predict different"
    assert (note in said) == (differ > 0)
    page = read_page(finished / "site" / "errors.html")
    cards = {(a["data-file"].split(",")[0], plain(a["data-votes"])) for _, a in page.tags if "data-votes" in a}
    chosen = gallery.cells(frame, ["efficientnet"], ["HEM", "ALL"], 3)
    for image in chosen["image"]:
        predicted = vote.loc[image, "predicted"]
        votes, probability = vote.loc[image, f"votes_{predicted}"], 100 * mean.loc[image, f"p_{predicted}"]
        larger = f"{int(votes)} of 5 votes for {predicted}; mean probability of {predicted} {probability:.1f} %"
        assert (image, larger) in cards
        divided = predicted != mean.loc[image, "predicted"]
        caption = f"{predicted} by {int(votes)} of 5 votes; probability" if divided else predicted
        assert f" {caption} {probability:.1f} % Patient {vote.loc[image, 'patient']} " in said
    assert "Each is scaled to its own maximum: compare places within a map, not maps" in said


def test_no_cell_of_the_gallery_is_shown_twice(finished):
    for entry in errors.page(read_inputs(finished)).facts["galleries"]:
        images = [card["image"] for group in entry["groups"] for card in group["cards"]]
        assert len(images) == len(set(images))


def test_a_patient_with_cells_of_two_classes_has_two_rows(finished):
    found = read_inputs(finished)
    table = found.predictions.copy()
    vote = table[(table["model"] == "efficientnet/majority") & (table["role"] == "test")]
    table.loc[vote.index, "predicted"] = vote["label"]
    missed, fine = (vote.loc[vote["label"] == label, "patient"].iloc[0] for label in ("ALL", "HEM"))
    table.loc[vote.index[vote["patient"] == missed], "predicted"] = "HEM"
    both = table.assign(patient=table["patient"].replace(fine, missed))
    figure = patients.strips(dataclasses.replace(found, predictions=both))["strip-efficientnet"]
    assert plain(figure.title) == "EfficientNet: 0.0 % to 100.0 % of a patient’s cells correct"
    assert figure.plot.layout.yaxis.ticktext[0] == f"{missed} (ALL)"
    assert f"{missed} (HEM)" in figure.plot.layout.yaxis.ticktext


def test_every_cell_is_downloadable_with_votes_and_probabilities(finished):
    frame = predictions(finished)
    tested = frame[frame["role"] == "test"]
    for method in ("efficientnet", "noisy_student"):
        shown = {row["image"]: row for row in read_csv(finished, f"cells-{method.replace('_', '-')}")}
        mean = tested[tested["model"] == f"{method}/mean"]
        folds = tested[(tested["method"] == method) & (tested["kind"] == "fold")]
        assert len(shown) == len(mean)
        for row in mean.itertuples():
            cell = shown[row.image]
            assert float(cell["p_positive"]) == pytest.approx(row.p_ALL, rel=1e-12)
            predicted = folds.loc[folds["image"] == row.image, "predicted"]
            assert int(cell["votes"]) == (predicted == cell["predicted"]).sum()
            assert (cell["correct"] == "True") == (cell["predicted"] == row.label)


def test_a_dot_of_the_strip_stands_at_its_probability_in_the_row_of_its_patient(finished):
    figure = patients.strips(read_inputs(finished))["strip-efficientnet"]
    table, axis = figure.table, figure.plot.layout.yaxis
    assert [trace.name for trace in figure.plot.data] == ["Correct", "Wrong"]
    for trace, correct in zip(figure.plot.data, (True, False), strict=True):
        part = table.where(correct=correct)
        assert list(trace.x) == part.percents("p_positive")
        rows_of = [axis.ticktext[round(y)] for y in trace.y]
        assert rows_of == [f"{p} ({c})" for p, c in zip(part.values("patient"), part.values("label"), strict=True)]


def test_a_map_is_laid_where_it_is_strong():
    cell = np.full((90, 90, 3), 40, dtype=np.uint8)
    strong = np.zeros((3, 3), dtype=np.uint8)
    strong[0, 2] = 255
    laid = np.asarray(Image.open(io.BytesIO(cells.overlay(cell, strong))).convert("RGB")).astype(int)
    assert laid[5, 85, 0] - laid[5, 85, 2] > 60  # warm
    assert abs(laid[85, 5, 0] - laid[85, 5, 2]) < 12  # grey
    large = Image.open(io.BytesIO(cells.thumbnail(np.zeros((450, 450, 3), dtype=np.uint8), 96)))
    assert large.size == (96, 96)


def test_the_share_of_a_map_inside_the_cell_is_that_of_its_weight():
    cell = np.zeros((90, 90, 3), dtype=np.uint8)
    cell[:, :30] = 40
    even, left = np.full((9, 9), 255, dtype=np.uint8), np.zeros((9, 9), dtype=np.uint8)
    left[:, 0] = 255
    assert cells.inside(cell, even) == pytest.approx((1 / 3, 1 / 3), abs=0.01)
    assert cells.inside(cell, left) == pytest.approx((1, 1 / 3), abs=0.01)


def test_every_dot_of_a_patient_names_its_cell_and_pictures_that_are_there(tree):
    figure = patients.strips(read_inputs(tree))["strip-efficientnet"]
    dots = [dot for trace in figure.plot.data for dot in trace.customdata]
    frame = predictions(tree)
    truth = frame[frame["role"] == "test"].drop_duplicates("image").set_index("image")["label"]
    assert {image: bool(positive) for positive, image, *_ in dots} == (truth == "ALL").rename(
        os.path.basename
    ).to_dict()
    files = [name for _, _, *names in dots for name in names]
    assert len(files) > len(dots)  # some have an activation map too
    assert all((tree / "site" / name).is_file() for name in files)


def test_a_map_of_few_values_is_not_shown(tree):
    path = tree / "results" / "explanations" / "maps.npy"
    np.save(path, np.load(path)[:, :3, :3])
    report.run()
    assert not list((tree / "site" / "cells").glob("*-map.webp"))
    assert "Activation maps of 3 × 3 values are too coarse to be read" in text_of(tree / "site" / "errors.html")


def test_images_that_may_not_be_published_are_nowhere(tree):
    assert list((tree / "site" / "cells").iterdir())
    edit_params(tree, report={"publish_images": False})
    (tree / "data" / "prepared" / "images.npy").unlink()  # not even read
    report.run()
    assert not (tree / "site" / "cells").exists()
    page = read_page(tree / "site" / "errors.html")
    assert "img" not in {tag for tag, _ in page.tags}
    assert "Missed ALL cells" in page.visible


def test_each_pair_of_near_copies_stands_over_its_patients(tree):
    rows = predictions(tree).drop_duplicates("patient").head(2)
    link = {"patients": [*rows["patient"]], "rows": [*map(int, rows["row"])], "agreement": 0.914, "pairs": 3}
    near = {"near_copies": {"pairs": 3, "links": [link]}}
    edit_json(tree / "data/prepared/summary.json", lambda found: found | near)
    report.run()
    page = read_page(tree / "site/data.html")
    shown = {a["src"]: a["alt"] for tag, a in page.tags if tag == "img" and "pair-" in a["src"]}
    left, right = link["patients"]
    assert shown == {"cells/pair-0-0.webp": f"Left: patient {left}", "cells/pair-0-1.webp": f"Right: patient {right}"}
    assert f"{left} and {right}" in page.visible
    assert "3 pairs, closest 0.914" in page.visible
    pixels = np.load(tree / "data/prepared/images.npy")
    for file, row in zip(shown, link["rows"], strict=True):
        assert (tree / "site" / file).read_bytes() == cells.thumbnail(pixels[row], cells.LARGE)
    edit_params(tree, report={"publish_images": False})
    report.run()
    page = read_page(tree / "site/data.html")
    assert f"{left} and {right}" in page.visible
    assert "img" not in {tag for tag, _ in page.tags}


def test_pseudonyms_leave_no_name_of_a_patient_or_file(tree):
    frame = predictions(tree)
    names = {*frame["image"], *(f">{name}<" for name in {*frame["patient"], *frame["subject"]})}
    edit_params(tree, report={"pseudonyms": True})
    twin = {"file": "b/UID_1_1_1_all.bmp", "reason": "the same name as a/UID_1_1_1_all.bmp"}
    edit_json(
        tree / "data" / "prepared" / "summary.json",
        lambda found: found | {
            "rejected": 1, "refusals": [twin], "reasons": [{"reason": twin["reason"], "files": 1}],
            "warnings": [*one_person(["UID_1", "uid-1"])[1], "2 have other names, such as UID_1.", "4 are black."],
        },
    )  # fmt: skip
    who = frame["patient"].iloc[0]
    left = {"patients": [who], "sentences": [f"2 training images of patient {who} left out: they are linked"]}
    edit_json(tree / "data" / "split.json", lambda found: found | {"left_out": left})
    report.run()
    assert "4 are black." in (tree / "site/data.html").read_text()
    assert "2 training images left out: they are linked" in text_of(tree / "site" / "data.html")
    assert read_csv(tree, "refused-by-reason") == [{"reason": "not told: report.pseudonyms", "files": "1"}]
    people = {row["patient"] for row in read_csv(tree, "cells-efficientnet")}
    people |= {row["subject"] for name in ("patients", "patients-accuracy") for row in read_csv(tree, name)}
    assert all(re.fullmatch(r"Patient \d+", name) for name in people)
    for path in (tree / "site").rglob("*"):
        if path.suffix in {".html", ".csv", ".json"}:
            content = path.read_text(encoding="utf-8")
            assert not [name for name in names if name in content], path
            assert "UID_" not in content


def test_images_without_a_patient_get_no_pseudonym(tree):
    path = tree / "results" / "predictions.csv"
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    frame.loc[frame["patient"] == frame["patient"].iloc[0], "patient"] = ""
    frame.to_csv(path, index=False)
    edit_params(tree, report={"pseudonyms": True})
    shown = pseudonymous(read_inputs(tree)).predictions
    assert ((shown["patient"] == "") == (frame["patient"] == "")).all()
    assert (shown["patient"] == "").any()


def test_operating_points_are_those_of_the_evaluation(finished):
    for entry in evaluation(finished)["operating_points"]:
        points = [row for row in read_csv(finished, "thresholds") if row["method"] == entry["method"]]
        shown = {row["name"]: row for row in points}
        assert len(shown) == len(entry["points"]) == 4
        half = shown["One half"]
        assert [int(half["test.FN"]), int(half["test.FP"])] == [entry["points"][0]["test"][k] for k in ("FN", "FP")]
        required = shown["Required sensitivity"]
        assert float(required["validation.sensitivity"]) == entry["points"][1]["validation"]["sensitivity"]


def test_the_level_of_refusal_is_the_one_that_validation_chose(finished):
    """The half that is refused, or any other level of the test set, would be chosen on the test set."""
    for entry, row in zip(evaluation(finished)["abstention"], read_csv(finished, "abstention"), strict=True):
        for role in ("validation", "test"):
            chosen = entry["chosen"][role]
            assert float(row[f"chosen.{role}.share_refused"]) == chosen["share_refused"]
            assert [int(row[f"chosen.{role}.{key}"]) for key in ("refused", "errors")] == [
                chosen["refused"], chosen["errors"],
            ]  # fmt: skip
    title = plain(decisions.page(read_inputs(finished)).figures["risk"].title)
    first = evaluation(finished)["abstention"][0]["confidence"][-1]["error"]
    assert title.startswith(f"Errors with every cell predicted: EfficientNet {100 * first:.1f} % and Noisy Student")


def test_colour_alone_tells_no_series_of_the_risk_figure_from_another(finished):
    traces = decisions.page(read_inputs(finished)).figures["risk"].plot.data
    drawn = [t.line.dash if t.mode == "lines" else t.marker.symbol for t in traces]
    assert len(drawn) == len(set(drawn)) == 4
    assert [t.mode for t in traces] == ["lines", "markers"] * 2


def test_thresholds_are_counted_as_the_evaluation_counted_them(finished):
    found = read_inputs(finished)
    table = decisions.page(found).figures["thresholds"].table.where(prevalence=0.25)
    for entry in evaluation(finished)["operating_points"]:
        method = table.where(method={"efficientnet": "EfficientNet"}.get(entry["method"], "Noisy Student"))
        scores = found.rows_of(entry["model"])
        truth = scores["label"] == "ALL"
        rates = zip(*map(method.values, ("threshold", "sensitivity", "specificity", "model")), strict=True)
        for at, sensitivity, specificity, benefit in rates:
            predicted = scores["p_ALL"] >= at
            assert sensitivity == pytest.approx((predicted & truth).sum() / truth.sum())
            assert specificity == pytest.approx((~predicted & ~truth).sum() / (~truth).sum())
            false_alarms = 0.75 * (1 - specificity) * at / (1 - at)
            assert benefit == pytest.approx(0.25 * sensitivity - false_alarms)


def git(*arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def commit(message):
    git("add", "params.yaml", "results/summary.json")
    git("commit", "-qm", message)


def test_experiments_are_read_from_git_with_what_they_changed(tree):
    """Git's refs as `dvc exp run` leaves them; a slow test compares with DVC itself."""
    git("init", "-q")
    commit("start")
    base = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    edit_params(tree, train={"epochs": 7}, data={"root": "/home/somebody/cells"})
    summary = json.loads((tree / "results" / "summary.json").read_text())
    summary["efficientnet"]["majority"]["balanced_accuracy"] = 0.987
    (tree / "results" / "summary.json").write_text(json.dumps(summary))
    commit("tried")
    git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/<b>seven</b>", "HEAD")
    git("update-ref", "refs/exps/exec/EXEC_BASELINE", "HEAD")
    git("reset", "-q", "--hard", base)
    here, tried = site.tried()
    assert (here.name, here.changed) == (None, [])
    assert (tried.name, tried.parent, tried.changed) == ("<b>seven</b>", base[:7], ["data.root", "train.epochs"])
    site.run()
    path = tree / "site" / "moment.html"
    assert "somebody" not in path.read_text()
    assert "b" not in {tag for tag, _ in read_page(path).tags}
    (shown,) = rows(path, "<b>seven</b>")
    assert shown[1:4] == ["cells", "data.root=cells, train.epochs=7", "98.7"]


@pytest.mark.slow
def test_experiments_are_those_that_dvc_lists(tree):
    dvc = [sys.executable, "-m", "dvc"]
    git("init", "-q")
    subprocess.run([*dvc, "init", "-q"], check=True)
    (tree / "dvc.yaml").write_text("params: [params.yaml]\nmetrics: [results/summary.json]\n")
    files = [f"results/{name}" for name in ("summary.json", "predictions.csv", "evaluation.json")]
    git("add", "params.yaml", *files, "dvc.yaml", ".dvc", ".dvcignore")
    git("commit", "-qm", "start")
    for epochs in (5, 9):
        edit_params(tree, train={"epochs": epochs})
        identity = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
        identity |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in identity.items()}
        subprocess.run([*dvc, "exp", "save", "-q", "-n", f"epochs-{epochs}"], check=True, env=os.environ | identity)
    listed = subprocess.run([*dvc, "exp", "list", "--name-only"], check=True, capture_output=True, text=True).stdout
    tried = site.tried()[1:]
    assert {one.name for one in tried} == set(listed.split()) == {"epochs-5", "epochs-9"}
    assert {one.parameters["train.epochs"] for one in tried} == {5, 9}
    assert [one.changed for one in tried] == [["train.epochs"]] * 2
    compared = revisions.compare(("epochs-5", "epochs-9"), ("5", "9"))
    assert compared.same
    assert compared.parameters == [("train.epochs", 5, 9)]
    site.run()
    assert f"{tried[0].name} and This report" in text_of(tree / "site" / "moment.html")


def test_plots_of_dvc_show_every_method_and_fold(finished, tmp_path):
    for name in ("dvc.yaml", "params.yaml", ".dvc/plots/curves.json", ".dvc/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    shutil.copytree(finished / "results", tmp_path / "results")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "config", "--local", "core.no_scm", "true"], check=True, cwd=tmp_path)
    shown = subprocess.run([*dvc, "plots", "show", "--json"], check=True, cwd=tmp_path, capture_output=True, text=True)
    (plot,) = json.loads(shown.stdout)["data"]["results/history.csv"]
    drawn = pd.DataFrame(plot["content"]["data"]["values"])
    history = pd.read_csv(finished / "results" / "history.csv", dtype=str)
    pd.testing.assert_frame_equal(drawn[history.columns], history)
    assert plot["content"]["spec"]["encoding"]["color"]["field"] == "fold"


def test_the_checklist_points_to_pages_that_are_there(tmp_path, finished):
    one = make_tree(tmp_path / "one", methods=("efficientnet",), folds=(1, 2), iterations=1)
    for root in (finished, one):
        links = [a["href"] for tag, a in read_page(root / "site" / "method.html").tags if tag == "a"]
        assert "decisions.html" in links
        assert [link for link in links if ".html" in link and not (root / "site" / link.split("#")[0]).is_file()] == []


def numbers(listed: str) -> list[str]:
    """`14–16` and `3a–c` written out."""
    found = []
    for part in listed.replace("–", "-").split(", "):
        if part == "-":
            continue
        first, _, last = part.partition("-")
        if last.isalpha():
            found += [first[:-1] + chr(letter) for letter in range(ord(first[-1]), ord(last) + 1)]
        else:
            found += [str(n) for n in range(int(first), int(last) + 1)] if last else [first]
    return found


def test_every_item_of_both_guidelines_is_in_the_checklist(finished):
    """CLAIM 2024 has 44 items, TRIPOD+AI 27, some of them with parts."""
    _, *items = read_page(finished / "site" / "method.html").tables[-1]
    claim = [number for item in items for number in numbers(item[1])]
    assert claim == sorted(claim, key=int)
    assert set(claim) == {str(n) for n in range(1, 45)}
    assert len(claim) == 44
    parts = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    tripod = {f"{n}{letter}" for n in range(1, 28) for letter in parts.get(n, [""])}
    assert {number for item in items for number in numbers(item[2])} == tripod


def test_no_page_is_heavy(finished):
    """150 kB of HTML as a server sends it for the first page, before figures; 5 MB for everything."""
    names = ("index.html", "assets/report.css", "assets/fonts.js", "assets/report.js")
    first = [finished / "site" / name for name in names]
    assert sum(len(gzip.compress(path.read_bytes())) for path in first) < 150_000
    assert sum(path.stat().st_size for path in (finished / "site").rglob("*") if path.is_file()) < 5_000_000


@pytest.mark.slow
def test_the_whole_test_set_of_the_report_fits_into_five_megabytes(tmp_path):
    """2,414 test images, five folds of two methods, the gallery."""
    root = make_tree(tmp_path / "tree", images=9656, patients=60, unlabelled=0)
    assert evaluation(root)["models"][0]["images"] == pytest.approx(2414, rel=0.1)
    assert list((root / "site" / "cells").iterdir())
    assert sum(path.stat().st_size for path in (root / "site").rglob("*") if path.is_file()) < 5_000_000


def test_reading_inputs_without_explanations_leaves_the_gallery_out(tree):
    for path in (tree / "results" / "explanations").iterdir():
        path.unlink()
    (tree / "results" / "explanations").rmdir()
    assert read_inputs(tree).gallery is None
    report.run()
    assert not (tree / "site" / "cells").exists()
