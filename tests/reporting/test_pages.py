"""What the pages of errors, decisions, experiments and method say is what the files say."""

import csv
import dataclasses
import gzip
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from job.commands import experiments, site
from job.evaluation import gallery
from job.reporting import cells, drawing, figures
from job.reporting.checklist import ITEMS
from job.reporting.pages import decisions, errors, folds, overview
from job.stages import report
from tests.fixtures.run_tree import edit_params

from .rendered import edit_json, make_tree, read_inputs, read_page
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
        shown = {row[1]: row[2:5] for row in rows(finished / "site" / "errors.html", name) if len(row) == 7}
        assert shown == {
            "HEM": [str(tn + fp), str(fp), f"{100 * fp / (tn + fp):.1f}"],
            "ALL": [str(tp + fn), str(fn), f"{100 * fn / (tp + fn):.1f}"],
        }
        said = text_of(finished / "site" / "errors.html")
        assert f"Missed ALL cells: {fn} of {tp + fn}" in said
        assert f"False alarms: {fp} of {tn + fp} HEM cells" in said


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
    close = chosen[chosen["group"] == "uncertain"]["image"]
    assert list(close) == list((mean["p_HEM"] - 0.5).abs().sort_values().index[:3])


def test_without_patients_no_cell_is_said_to_be_of_one(finished):
    found = read_inputs(finished)
    assert "patients" in [column.key for column in errors.page(found).tables["counts"].columns]
    unknown = {**found.prepared, "patients_known": False}
    nameless = found.predictions.assign(patient="")
    for pseudonym in ("", "Patient 1"):
        own = nameless.assign(patient=pseudonym)
        page = errors.page(dataclasses.replace(found, prepared=unknown, predictions=own))
        assert page.figures == {}
        assert page.facts["strips"] == []
        assert "patients" not in [column.key for column in page.tables["counts"].columns]
    # Where only some are known, the others are nobody's.
    some = found.predictions["patient"].where(found.predictions["label"] == "ALL", "")
    page = errors.page(dataclasses.replace(found, predictions=found.predictions.assign(patient=some)))
    assert "" not in [row[0] for row in page.figures["strip-efficientnet"].table.rows]
    assert [row[-1] for row in page.tables["counts"].rows if row[1] == "HEM"] == [0, 0]


def test_a_card_says_votes_and_mean_probability_apart_and_how_often_they_differ(finished):
    """`Called HEM by 4 of 5, probability 49.8 %` reads as a contradiction."""
    said, frame = text_of(finished / "site" / "errors.html"), predictions(finished)
    tested = frame[frame["role"] == "test"]
    vote, mean = (tested[tested["model"] == f"efficientnet/{rule}"].set_index("image") for rule in ("majority", "mean"))
    differ = int((vote["predicted"] != mean["predicted"].reindex(vote.index)).sum())
    note = f"EfficientNet: on {differ} of {len(vote)} test cells the vote and the mean probability make different calls"
    assert (note in said) == (differ > 0)
    for image in gallery.cells(frame, ["efficientnet"], ["HEM", "ALL"], 3)["image"]:
        called = vote.loc[image, "predicted"]
        votes, probability = round(5 * vote.loc[image, f"p_{called}"]), 100 * mean.loc[image, f"p_{called}"]
        assert f"{votes} of 5 votes for {called}; mean probability of {called} {probability:.1f} %" in said
    assert "scaled to its own maximum: compare places within a map, not maps" in said
    found = read_inputs(finished)
    agreed = frame.copy()
    both = agreed["rule"].isin(["majority", "mean"]) & (agreed["role"] == "test")
    agreed.loc[both, "predicted"] = "ALL"
    assert errors.page(dataclasses.replace(found, predictions=agreed)).facts["divided"] == []
    one = agreed.index[both & (agreed["model"] == "noisy_student/mean")][:1]
    agreed.loc[one, "predicted"] = "HEM"
    divided = errors.page(dataclasses.replace(found, predictions=agreed)).facts["divided"]
    assert divided == [("Noisy Student", 1, len(vote))]


def strip_title(found, table):
    page = errors.page(dataclasses.replace(found, predictions=table))
    return page.figures["strip-efficientnet"].title.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_the_worst_share_is_that_of_a_patient_and_class(finished):
    """A patient with cells of both classes has two shares; several patients may have the worst one."""
    found = read_inputs(finished)
    table = found.predictions.copy()
    vote = table[(table["model"] == "efficientnet/majority") & (table["role"] == "test")]
    missed, also = vote.loc[vote["label"] == "ALL", "patient"].unique()[:2]
    fine = vote.loc[vote["label"] == "HEM", "patient"].unique()[0]
    table.loc[vote.index, "predicted"] = vote["label"]
    table.loc[vote.index[vote["patient"] == missed], "predicted"] = "HEM"
    start = "EfficientNet: from 0.0 % of the cells called right"
    assert strip_title(found, table) == f"{start} (patient {missed}) to 100.0 %"
    both = table.assign(patient=table["patient"].replace(fine, missed))
    assert strip_title(found, both) == f"{start} (patient {missed}, ALL cells) to 100.0 %"
    table.loc[vote.index[vote["patient"] == also], "predicted"] = "HEM"
    assert strip_title(found, table) == f"{start} (2 patients) to 100.0 %"


def test_every_cell_is_downloadable_with_votes_and_probabilities(finished):
    shown = {(row["method"], row["image"]): row for row in read_csv(finished, "test-cells")}
    frame = predictions(finished)
    tested = frame[frame["role"] == "test"]
    mean = tested[tested["model"] == "noisy_student/mean"]
    folds = tested[(tested["method"] == "noisy_student") & (tested["kind"] == "fold")]
    assert len(shown) == 2 * len(mean)
    for row in mean.itertuples():
        cell = shown["noisy_student", row.image]
        assert float(cell["p_truth"]) == pytest.approx(getattr(row, f"p_{row.label}"), rel=1e-12)
        assert int(cell["votes"]) == (folds.loc[folds["image"] == row.image, "predicted"] == cell["called"]).sum()


def test_a_map_is_laid_where_it_is_strong():
    cell = np.full((90, 90, 3), 40, dtype=np.uint8)
    strong = np.zeros((3, 3), dtype=np.uint8)
    strong[0, 2] = 255
    laid = np.asarray(Image.open(io.BytesIO(cells.overlay(cell, strong))).convert("RGB")).astype(int)
    assert laid[5, 85, 0] - laid[5, 85, 2] > 60  # warm
    assert abs(laid[85, 5, 0] - laid[85, 5, 2]) < 12  # grey
    large = Image.open(io.BytesIO(cells.thumbnail(np.zeros((450, 450, 3), dtype=np.uint8))))
    assert large.size == (cells.SIDE, cells.SIDE)


def test_images_that_may_not_be_published_are_nowhere(tree):
    assert list((tree / "site" / "cells").iterdir())
    edit_params(tree, report={"publish_images": False})
    (tree / "data" / "prepared" / "images.npy").unlink()  # not even read
    report.run()
    assert not (tree / "site" / "cells").exists()
    page = read_page(tree / "site" / "errors.html")
    assert "img" not in {tag for tag, _ in page.tags}
    assert "Missed ALL cells" in page.visible


def test_pseudonyms_leave_no_name_of_a_patient_or_file(tree):
    frame = predictions(tree)
    names = {*frame["image"], *(f">{name}<" for name in {*frame["patient"], *frame["subject"]})}
    edit_params(tree, report={"pseudonyms": True})
    twin = {"file": "b/UID_1_1_1_all.bmp", "reason": "the same name as a/UID_1_1_1_all.bmp"}
    edit_json(
        tree / "data" / "prepared" / "summary.json",
        lambda found: found | {
            "rejected": 1, "refusals": [twin], "reasons": [{"reason": twin["reason"], "files": 1}],
        },
    )  # fmt: skip
    report.run()
    assert read_csv(tree, "refused-by-reason") == [{"reason": "not told: report.pseudonyms", "files": "1"}]
    patients = {row["patient"] for row in read_csv(tree, "patients-efficientnet")}
    patients |= {row["subject"] for row in read_csv(tree, "patients")}
    assert all(re.fullmatch(r"Patient \d+", name) for name in patients)
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
    shown = read_inputs(tree).predictions
    assert ((shown["patient"] == "") == (frame["patient"] == "")).all()
    assert (shown["patient"] == "").any()


def test_operating_points_are_those_of_the_evaluation(finished):
    for entry in evaluation(finished)["operating_points"]:
        slug = entry["method"].replace("_", "-")
        shown = {row["point"]: row for row in read_csv(finished, f"thresholds-{slug}")}
        assert len(shown) == len(entry["points"]) == 4
        half = shown["One half"]
        assert [int(half["FN"]), int(half["FP"])] == [entry["points"][0]["test"][k] for k in ("FN", "FP")]
        required = shown["Required sensitivity"]
        assert float(required["validation_sensitivity"]) == entry["points"][1]["validation"]["sensitivity"]


def test_the_risk_figure_speaks_of_the_level_that_validation_chose(finished):
    """The half that is refused, or any other level of the test set, would be chosen on the test set."""
    found = read_inputs(finished)
    first, *others = found.evaluation["abstention"]

    def title(chosen):
        changed = {**found.evaluation, "abstention": [{**first, "chosen": chosen}, *others]}
        made = decisions.page(dataclasses.replace(found, evaluation=changed)).figures["risk"].title
        return made.replace("\N{NARROW NO-BREAK SPACE}", " ")

    start = f"EfficientNet: {100 * first['confidence']['curve'][-1]['error']:.1f} % errors with every cell called; "
    reached = first["chosen"]["test"]
    left = f"at the confidence chosen on validation {100 * reached['share_refused']:.1f} % are left to a pathologist"
    assert f"{start}{left}, and {reached['errors']} of {reached['kept']} " in title(first["chosen"])
    none = {**first["chosen"], "test": {**reached, "kept": 0, "errors": 0, "error": None, "share_refused": 1.0}}
    assert title(none).endswith("100.0 % are left to a pathologist, and none is called")
    assert title(None) == f"{start}no confidence was chosen on validation"


def test_colour_alone_tells_no_series_of_the_risk_figure_from_another(finished):
    traces = decisions.page(read_inputs(finished)).figures["risk"].spec["data"]
    drawn = [t["line"]["dash"] if t["mode"] == "lines" else t["marker"]["symbol"] for t in traces]
    assert len(drawn) == len(set(drawn)) == 4
    assert [t["mode"] for t in traces] == ["lines", "markers"] * 2


def test_a_vote_stands_below_the_folds_and_hides_none(finished):
    found = read_inputs(finished)
    comparison, dots = overview.page(found).figures["comparison"], folds.page(found).figures["dots"]
    by_fold, vote, _ = comparison.spec["data"]
    series = [(by_fold, vote), *zip(dots.spec["data"][::2], dots.spec["data"][1::2], strict=True)]
    for several, votes in series:
        assert len(several["y"]) == 5 * len(votes["y"])
        for n, y in enumerate(votes["y"]):  # rows count downwards
            own = several["y"][5 * n : 5 * n + 5]
            assert len(set(own)) == 5
            assert y - 1 < min(own) < max(own) < y
    for figure in (comparison, dots):
        assert "above, the vote below" in figure.caption
    assert comparison.title.startswith("Balanced accuracy: ")
    assert [shape["x0"] for shape in comparison.spec["layout"]["shapes"]] == [50]
    left, right = comparison.spec["layout"]["xaxis"]["range"]
    assert left < min(50, *by_fold["x"]) < max(50, *by_fold["x"]) < right


def test_who_corrects_whom_adds_up(finished):
    images = next(m for m in evaluation(finished)["models"] if m["model"] == "efficientnet/majority")["images"]
    for row in read_csv(finished, "corrections"):
        right, corrected, both = (int(row[key]) for key in ("right", "corrected", "both_wrong"))
        assert right + corrected + both == images


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
    here, tried = experiments.found()
    assert (here.name, here.changed) == (None, [])
    assert (tried.name, tried.parent, tried.changed) == ("<b>seven</b>", base[:7], ["data.root", "train.epochs"])
    site.run()
    path = tree / "site" / "experiments.html"
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
    git("add", "params.yaml", "results/summary.json", "dvc.yaml", ".dvc", ".dvcignore")
    git("commit", "-qm", "start")
    for epochs in (4, 9):
        edit_params(tree, train={"epochs": epochs})
        identity = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
        identity |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in identity.items()}
        subprocess.run([*dvc, "exp", "save", "-q", "-n", f"epochs-{epochs}"], check=True, env=os.environ | identity)
    listed = subprocess.run([*dvc, "exp", "list", "--name-only"], check=True, capture_output=True, text=True).stdout
    tried = experiments.found()[1:]
    assert {one.name for one in tried} == set(listed.split()) == {"epochs-4", "epochs-9"}
    assert {one.parameters["train.epochs"] for one in tried} == {4, 9}
    assert all(one.changed == ["train.epochs"] for one in tried)


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


def test_every_item_of_both_guidelines_is_in_the_checklist():
    """CLAIM 2024 has 44 items, TRIPOD+AI 27, some of them with parts."""
    claim = [number for item in ITEMS for number in numbers(item.claim)]
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
    assert {number for item in ITEMS for number in numbers(item.tripod)} == tripod


def test_no_page_is_heavy(finished):
    """150 kB of HTML as a server sends it for the first page, before figures; 6 MB for everything."""
    names = ("index.html", "assets/report.css", "assets/fonts.js", "assets/report.js")
    first = [finished / "site" / name for name in names]
    assert sum(len(gzip.compress(path.read_bytes())) for path in first) < 150_000
    assert sum(path.stat().st_size for path in (finished / "site").rglob("*") if path.is_file()) < 6_000_000


@pytest.mark.slow
def test_the_whole_test_set_of_the_report_fits_into_six_megabytes(tmp_path):
    """2,414 test images, five folds of two methods, the gallery."""
    root = make_tree(tmp_path / "tree", images=9656, patients=60, unlabelled=0)
    assert evaluation(root)["models"][0]["images"] == pytest.approx(2414, rel=0.1)
    assert list((root / "site" / "cells").iterdir())
    assert sum(path.stat().st_size for path in (root / "site").rglob("*") if path.is_file()) < 6_000_000


def test_a_still_drawing_puts_every_point_where_its_value_is():
    spec = {
        "data": [{"type": "scatter", "mode": "lines", "name": "a", "x": [0, 5, 10], "y": [0, None, 100],
                  "line": {"color": "--ink"}}],
        "layout": {
            "xaxis": {"title": {"text": "<x>"}, "range": [0, 10]}, "yaxis": {"title": {"text": ""}, "range": [0, 100]},
        },
    }  # fmt: skip
    made = str(drawing.svg(spec, "small"))
    (path,) = re.findall(r'<path d="(M[^"]*)" fill="none" stroke="var\(--ink\)"', made)
    (x0, y0), (x1, y1) = [tuple(map(float, place.split())) for place in path.removeprefix("M").split("M")]
    assert x0 < x1 == drawing.WIDTH - 16
    assert y0 == drawing.HEIGHTS["small"] - 52 > y1 == 12
    assert "&lt;x&gt;" in made


def test_stacked_bars_stand_on_each_other_and_unnamed_ticks_stay_unnamed():
    traces = [
        figures.bars(name, ["<p1>", "p2"], values, n) for n, (name, values) in enumerate([("a", [2, 1]), ("b", [3, 0])])
    ]
    axis = figures.axis("Patients", showticklabels=False)
    made = str(drawing.svg(figures.spec(traces, axis, figures.axis("Images"), barmode="stack"), "small"))
    assert "p1" not in made
    bars = [
        tuple(map(float, box))
        for box in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', made)
    ]
    (x1, y1, h1), (_, _, h2), (x3, y3, h3) = [bar for bar in bars if bar[1] > 40]
    assert x1 == x3
    assert y3 + h3 == pytest.approx(y1, abs=0.2)
    assert (h1 / h2, h3 / h2) == (pytest.approx(2, rel=0.01), pytest.approx(3, rel=0.01))


def test_every_figure_has_a_still_drawing(finished):
    for path in (finished / "site").glob("*.html"):
        content = path.read_text(encoding="utf-8")
        assert content.count('<div class="still"><svg') == content.count("<figure")


def test_reading_inputs_without_explanations_leaves_the_gallery_out(tree):
    for path in (tree / "results" / "explanations").iterdir():
        path.unlink()
    (tree / "results" / "explanations").rmdir()
    assert read_inputs(tree).gallery is None
    report.run()
    assert not (tree / "site" / "cells").exists()
