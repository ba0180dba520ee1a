"""`python -m job score`: anybody's predictions."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from job.commands import machine, score
from job.errors import UserError
from tests import ROOT
from tests.evaluation.recompute import assert_recomputes
from tests.fixtures.run_tree import REPOSITORY


@pytest.fixture
def here(tmp_path, monkeypatch):
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    (tmp_path / "report_templates").symlink_to(REPOSITORY / "report_templates")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predictions(patients=12, per=8, seed=0, first=0):
    """The minimal columns: cells of patients who differ."""
    draw = np.random.default_rng(seed)
    patient = np.repeat(np.arange(first, first + patients), per)
    label = np.where(patient % 2, "ALL", "HEM")
    logit = np.where(label == "ALL", 1.2, -1.0) + draw.normal(0, 0.8, patients)[patient - first]
    p = 1 / (1 + np.exp(-logit - draw.normal(0, 0.8, len(patient))))
    image = [f"{who}_{i}.bmp" for i, who in enumerate(patient)]
    return pd.DataFrame({"image": image, "patient": [f"P{who}" for who in patient], "label": label, "p_ALL": p})


def run(table, here, **options):
    path = here / "their predictions.csv"
    table.to_csv(path, index=False)
    sentence = score.run(path, here / "out", **({"site_too": False, "synthetic": False} | options))
    return json.loads((here / "out" / "evaluation.json").read_text()), sentence


def test_the_minimal_columns_are_scored_with_intervals_and_persons(here):
    table = predictions()
    report, _ = run(table, here)
    (model,) = report["models"]
    assert report["classes"] == ["HEM", "ALL"]
    assert report["positive"] == "ALL"
    correct = (table["p_ALL"] > 0.5) == (table["label"] == "ALL")
    assert model["metrics"]["accuracy"] == pytest.approx(correct.mean())
    recall = correct.groupby(table["patient"]).mean().groupby(table.groupby("patient")["label"].first()).mean()
    figure = model["by_subject"]["balanced_accuracy"]
    assert figure["value"] == pytest.approx(recall.mean(), abs=1e-6)
    assert figure["low"] < recall.mean() < figure["high"]
    assert_recomputes(here / "out/evaluation.json", here / "out/predictions.csv")
    assert len(report["patients"][0]["subjects"]) == 12
    assert report["calibration"] == report["operating_points"] == []
    assert report["evidence"]["warnings"] == []


def test_validation_images_bring_calibration_thresholds_and_abstention(here):
    table = pd.concat([
        predictions(seed=1).assign(role="test"),
        predictions(seed=2, patients=30, first=100).assign(role="validation"),
        predictions(seed=3, first=200).assign(role="unlabelled", label=""),
    ])  # fmt: skip
    report, _ = run(table, here)
    assert {(m["model"], m["role"]) for m in report["models"]} == {
        ("their predictions", "validation"), ("their predictions", "test"), ("their predictions/calibrated", "test"),
    }  # fmt: skip
    assert len(report["calibration"]) == len(report["operating_points"]) == len(report["abstention"]) == 1
    assert_recomputes(here / "out/evaluation.json", here / "out/predictions.csv")


def test_a_result_of_this_command_is_scored_alike(here):
    """It holds the calibrated model already."""
    test, held_in = predictions(seed=1), predictions(seed=2, patients=30, first=100)
    run(pd.concat([test.assign(role="test"), held_in.assign(role="validation")]), here)
    again = pd.read_csv(here / "out/predictions.csv", dtype=str, keep_default_na=False)
    report, _ = run(again, here)
    models = [(model["model"], model["role"]) for model in report["models"]]
    assert len(models) == len(set(models)) == 3
    assert {model["images"] for model in report["models"] if model["role"] == "test"} == {len(test)}


@pytest.mark.parametrize("neighbour", ["[1, 2]", "broken", "{}"])
def test_other_peoples_files_beside_the_input_are_nobodys_business(here, neighbour):
    (here / "evaluation.json").write_text(neighbour)
    run(predictions(), here)
    frame = here / "out/site/frame.json"
    frame.parent.mkdir()
    frame.write_text(neighbour)
    with pytest.raises(UserError, match="holds other files than this command's pages"):
        run(predictions(), here, site_too=True)


def test_predictions_without_any_doubt_have_pages_too(here):
    """A true class with a probability of zero leaves the log loss undefined."""
    test, held_in = predictions(seed=1), predictions(seed=2, patients=30, first=100)
    table = pd.concat([test.assign(role="test"), held_in.assign(role="validation")])
    run(table.assign(p_ALL=(table["p_ALL"] > 0.5).astype(float)), here, site_too=True)
    assert "Log loss on the test set and the temperature" in (here / "out/site/decisions.html").read_text()


def test_the_pipelines_own_predictions_are_scored_alike(here, evaluated):
    own = pd.read_csv(evaluated / "results/predictions.csv", dtype=str, keep_default_na=False)
    report, _ = run(own, here)
    theirs = {(m["model"], m["role"]): m for m in report["models"]}
    for model in json.loads((evaluated / "results/evaluation.json").read_text())["models"]:
        if model["role"] == "masked":
            continue
        again = theirs[model["model"], model["role"]]
        assert again["confusion"] == model["confusion"]
        for name, value in model["metrics"].items():
            assert again["metrics"][name] == pytest.approx(value, abs=1e-6), name
        for name, entry in model["by_subject"].items():
            assert again["by_subject"][name] == pytest.approx(entry, abs=2e-6), name


def test_models_are_compared_with_the_first_and_three_thousand_cells_take_seconds(here):
    """3 models and the 3,553 images of the published challenge's test set, once with 30 patients and once without."""
    tables = [predictions(patients=34, per=105, seed=seed).iloc[:3553].assign(model=f"m{seed}") for seed in range(3)]
    for table in (pd.concat(tables), pd.concat(tables).assign(patient="")):
        start = time.process_time()
        run(table, here)
        assert time.process_time() - start < 20
        compared = pd.read_csv(here / "out/differences.csv")
        assert set(zip(compared["model"], compared["other"], strict=True)) == {("m1", "m0"), ("m2", "m0")}
        assert compared["low"].notna().all()


def test_other_classes_and_no_patients(here):
    draw = np.random.default_rng(4)
    p = draw.dirichlet(np.ones(3), 90)
    table = pd.DataFrame(p, columns=["p_<b>", "p_خلية", "p_c, d"])
    table = table.assign(image=[f"{i}" for i in range(90)], label=np.tile(["<b>", "خلية", "c, d"], 30))
    report, sentence = run(table, here, site_too=True)
    assert report["positive"] is None
    assert "intervals are too narrow" in report["evidence"]["warnings"][0]
    assert "site/index.html" in sentence


def test_the_pages_say_synthetic_when_told_and_link_only_to_each_other(here):
    table = pd.concat([predictions(seed=1).assign(role="test"),
                       predictions(seed=2, first=100).assign(role="validation")])  # fmt: skip
    run(table, here, site_too=True, synthetic=True)
    pages = sorted((here / "out" / "site").glob("*.html"))
    assert [page.name for page in pages] == ["decisions.html", "index.html", "whole.html"]
    for page in pages:
        text = page.read_text()
        assert "Synthetic data." in text
        links = [link.split("#")[0] for link in re.findall(r'href="([^"]*)"', text)]
        assert all((page.parent / link).is_file() for link in links if link)
    run(table, here, site_too=True)
    assert "Synthetic data." not in (here / "out/site/index.html").read_text()


def test_predictions_beside_an_evaluation_of_synthetic_cells_are_called_synthetic(here, evaluated):
    """The banner must not hang on a flag that somebody forgets."""
    score.run(evaluated / "results/predictions.csv", here / "out", site_too=True, synthetic=False)
    assert json.loads((here / "out/evaluation.json").read_text())["synthetic"]
    assert "Synthetic data." in (here / "out/site/index.html").read_text()
    score.run(here / "out/predictions.csv", here / "again", site_too=False, synthetic=False)
    assert json.loads((here / "again/evaluation.json").read_text())["synthetic"]


def test_a_rule_of_ones_own_does_not_move_the_abstention(here):
    """Which cells are left to a pathologist follows from probabilities, on validation and test images alike."""
    table = pd.concat([predictions(seed=1).assign(role="test"),
                       predictions(seed=2, patients=30, first=100).assign(role="validation")])  # fmt: skip
    plain, _ = run(table, here)
    other, _ = run(table.assign(predicted=np.where(table["p_ALL"] >= 0.2, "ALL", "HEM")), here)
    assert other["abstention"] == plain["abstention"]


def test_score_replaces_neither_its_input_nor_pages_of_others(here):
    path = here / "out/predictions.csv"
    path.parent.mkdir()
    predictions().to_csv(path, index=False)
    content = path.read_bytes()
    with pytest.raises(UserError, match="would be replaced"):
        score.run(path, here / "out", site_too=False, synthetic=False)
    (here / "other/site").mkdir(parents=True)
    (here / "other/site/index.html").write_text("a report")
    with pytest.raises(UserError, match="holds other files than this command's pages"):
        score.run(path, here / "other", site_too=True, synthetic=False)
    assert path.read_bytes() == content
    assert (here / "other/site/index.html").read_text() == "a report"


def test_a_byte_order_mark_is_no_part_of_a_name(here):
    path = here / "excel.csv"
    predictions().to_csv(path, index=False, encoding="utf-8-sig")
    assert "sets of predictions scored: 1;" in score.run(path, here / "out", site_too=False, synthetic=False)


def change(column, value, line=7):
    def changed(table):
        table[column] = table[column].astype(object)
        table.loc[line - 2, column] = value
        return table

    return changed


def two_models(damage=None):
    def made(table):
        other = table.assign(model="b")
        return pd.concat([table.assign(model="a"), other if damage is None else damage(other)])

    return made


def wide(table):
    return table.assign(p_HEM=1 - table["p_ALL"])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change("p_ALL", 1.5), r"line 7, column 'p_ALL': 1\.5 is not a probability between 0 and 1"),
        (change("p_ALL", "high"), "line 7, column 'p_ALL': 'high' is not a number"),
        (change("p_ALL", "nan"), "line 7, column 'p_ALL': nan is not a probability"),
        (lambda t: change("p_HEM", 0.99)(wide(t)), r"line 7: the probabilities sum to [\d.]+, not 1"),
        (lambda t: change("label", "BLAST")(wide(t)), "line 7, column 'label': 'BLAST' is not one of ALL, HEM"),
        (change("label", "BLAST", 40), "line 40, column 'label': 'BLAST' is a third class and has no column 'p_BLAST'"),
        (change("image", "0_0.bmp"), "line 7, column 'image': '0_0.bmp' occurs twice for model 'their predictions'"),
        (two_models(lambda t: t.iloc[1:]), "line 2, column 'image': '0_0.bmp' is scored by 'a' and not by 'b'"),
        (two_models(change("image", "x")), "line 103, column 'image': 'x' is scored by 'b' and not by 'a'"),
        (two_models(change("label", "ALL")), "line 103, column 'label': '0_5.bmp' has another label further up"),
        (two_models(change("patient", "P5")), "line 103, column 'patient': '0_5.bmp' has another patient further up"),
        (lambda t: change("role", "validation")(t.assign(role="test")),
         "line 2, column 'subject': 'P0' has validation and test images"),
        (lambda t: change("role", "train")(change("patient", "p-00")(t.assign(role="test"))),
         "line 2, column 'subject': 'P0' has training and test images"),
        (lambda t: t.assign(role="train"), "column 'role': no row is of role 'test'"),
        (lambda t: t.drop(columns="p_ALL"), "no column 'p_<CLASS>' holds probabilities"),
        (lambda t: t.drop(columns="label"), "column 'label' is missing"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_with_row_and_column_and_nothing_is_written(here, damage, says):
    with pytest.raises(UserError, match=f"their predictions.csv: {says}.*fix the file"):
        run(damage(predictions()), here)
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change("label", ""), "line 7, column 'label': empty"),
        (change("label", "N/A"), "line 7, column 'label': 'N/A' stands for a missing value"),
        (change("image", " "), "line 7, column 'image': empty"),
        (lambda t: t.assign(label=t["label"].str.lower()), "line 10, column 'label': 'all' is 'ALL' in another spell"),
        (lambda t: t.assign(label=1 * (t["label"] == "ALL")), "no label is one of the columns' classes: 0, 1, p_ALL"),
        (lambda t: t.rename(columns={"p_ALL": "p_nan"}), "column 'p_nan': 'nan' stands for a missing value"),
        (lambda t: t.rename(columns={"patient": "Patient"}), "column 'Patient' is not read: call it 'patient'"),
        (lambda t: t.rename(columns={"patient": "patient_id"}), "column 'patient_id' is not read: call it 'patient'"),
        (lambda t: t.assign(split="train"), "column 'split' is not read: call it 'role'"),
        (lambda t: t.assign(classifier="a"), "column 'classifier' is not read: call it 'model'"),
        (lambda t: t.rename(columns={"label": "Label"}), r"column 'label' is missing \(there is 'Label'\)"),
        (lambda t: t.assign(role="val"), "line 2, column 'role': 'val' is not one of validation, masked, test"),
        (lambda t: t.assign(role=""), "line 2, column 'role': '' is not one of"),
        (lambda t: t.iloc[:0], "has no rows below its header"),
        (change("p_ALL", "0,95"), "'0,95' is not a number; decimals are written with a point"),
    ],
)  # fmt: skip
def test_what_a_table_leaves_open_is_asked_and_not_guessed(here, damage, says):
    with pytest.raises(UserError, match=f"their predictions.csv.*{says}.*fix the file"):
        run(damage(predictions()), here)
    assert not (here / "out").exists()


def test_a_column_that_is_taken_for_a_class_is_named(here):
    with pytest.raises(UserError, match=r"sum to [\d.]+, not 1: fix the file \(columns p_ALL, p_value\)"):
        run(predictions().assign(p_value=0.03), here)


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_another_separator_is_named_first(here, sign):
    path = here / "theirs.csv"
    predictions().to_csv(path, index=False, sep=sign)
    with pytest.raises(UserError, match=r"theirs\.csv: its columns are separated by"):
        score.run(path, here / "out", site_too=False, synthetic=False)


def test_tables_of_somebody_else_are_not_replaced(here):
    run(predictions(), here, site_too=True)
    assert "of an earlier call" in run(predictions(seed=1), here)[1]
    for name in ("predictions.csv", "differences.csv", "evaluation.json"):
        own = (here / "out" / name).read_bytes()
        (here / "out" / name).write_text("mine")
        with pytest.raises(UserError, match=f"{name} was not written by this command"):
            run(predictions(), here)
        assert (here / "out" / name).read_text() == "mine"
        (here / "out" / name).write_bytes(own)


def test_calls_of_predict_are_not_passed_over(here):
    with pytest.raises(UserError, match="column 'call' is not read: call it 'predicted'"):
        run(predictions().assign(call="ALL"), here)


@pytest.mark.parametrize("spell", [lambda p: f"{p} ", lambda p: p.lower(), lambda p: f"{p}.0", lambda p: f"P0{p[1:]}"])
def test_a_person_in_two_spellings_is_one_person(here, spell):
    table = predictions()
    names = table["patient"] if spell("P1") != "P1.0" else table["patient"].str[1:]
    odd = [spell(name) if i % 2 else name for i, name in enumerate(names)]
    plain, _ = run(table, here)
    report, sentence = run(table.assign(patient=odd), here)
    for key in ("subjects", "by_subject"):
        assert report["models"][0][key] == plain["models"][0][key]
    assert ("are one person" in sentence) == (spell("P1") != "P1 ")


@pytest.mark.parametrize("gap", ["", "nan", "NA", "None"])
def test_images_without_a_patient_are_counted_and_leave_the_others_known(here, gap):
    report, sentence = run(change("patient", gap)(predictions()), here)
    assert report["models"][0]["subjects"] == 13
    assert len(report["patients"][0]["subjects"]) == 13
    assert "warning: 1 of 96 images have no patient" in sentence
    report, _ = run(predictions().assign(patient=gap), here)
    assert "intervals are too narrow" in report["evidence"]["warnings"][0]


def test_roles_in_capitals_are_roles_and_rows_that_are_left_out_are_counted(here):
    table = predictions().assign(role="test")
    table.loc[::2, "role"] = "Test "
    others = predictions(first=100).assign(role="unlabelled", label="")
    report, sentence = run(pd.concat([table, others]), here)
    assert report["models"][0]["images"] == 96
    assert "96 of 192 rows are of other roles" in sentence


def test_the_positive_class_follows_from_names_or_is_asked_for(here):
    table = predictions().rename(columns={"p_ALL": "p_blast"})
    table = table.assign(p_healthy=1 - table["p_blast"], label=np.where(table["label"] == "ALL", "blast", "healthy"))
    report, sentence = run(table, here)
    assert report["positive"] == "blast"
    assert "positive class blast" in sentence
    table = predictions().rename(columns={"p_ALL": "p_B"}).replace({"label": {"ALL": "B", "HEM": "A"}})
    with pytest.raises(UserError, match="choose with --positive A or --positive B"):
        run(table, here)
    assert run(table, here, positive="A")[0]["positive"] == "A"
    with pytest.raises(UserError, match="--positive C: the classes are A and B"):
        run(table, here, positive="C")


def test_a_missing_file_is_a_sentence(here):
    with pytest.raises(UserError, match=r"absent\.csv does not exist"):
        score.run(here / "absent.csv", here / "out", site_too=False, synthetic=False)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text.replace("patient", "p_ALL", 1), "column 'p_ALL' occurs twice"),
        (lambda text: text.replace("\n1_11.bmp", '\n"1_11.bmp', 1), "line 13 is no CSV (unexpected end of data)"),
        (lambda text: text.replace("\n1_11.bmp", "\n\n1_11.bmp", 1), "line 13 has 0 values, not 4"),
    ],
)
def test_what_is_no_table_is_refused_by_its_line(here, damage, says):
    path = here / "theirs.csv"
    path.write_text(damage(predictions().to_csv(index=False)))
    with pytest.raises(UserError, match=re.escape(f"theirs.csv: {says}: fix the file")):
        score.run(path, here / "out", site_too=False, synthetic=False)
    assert not (here / "out").exists()


def test_blank_lines_at_the_end_are_no_rows(here):
    path = here / "theirs.csv"
    path.write_text(predictions().to_csv(index=False) + "\n\r\n")
    assert "sets of predictions scored: 1;" in score.run(path, here / "out", site_too=False, synthetic=False)


def test_what_stands_in_the_way_is_said_before_anything_is_written(here):
    path = here / "theirs.csv"
    predictions().to_csv(path, index=False)
    (here / "taken").touch()
    for out in (here / "taken", here / "taken/below"):
        with pytest.raises(UserError, match="taken is no folder: name another place"):
            score.run(path, out, site_too=False, synthetic=False)
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        score.run(here, here / "out", site_too=False, synthetic=False)
    (here / "report_templates").unlink()
    with pytest.raises(UserError, match=r"needs report_templates/, .* root of the repository"):
        score.run(path, here / "out", site_too=True, synthetic=False)
    assert not (here / "out").exists()


def test_the_results_of_the_pipeline_and_what_git_keeps_are_not_replaced(here):
    path = here / "theirs.csv"
    predictions().to_csv(path, index=False)
    (here / "dvc.yaml").touch()
    for out in (Path("results"), here / "ensembles/theirs"):
        with pytest.raises(UserError, match="is where the pipeline keeps its results: name another place"):
            score.run(path, out, site_too=False, synthetic=False)
    for out in (ROOT, ROOT / "docs"):
        with pytest.raises(UserError, match="is or holds what Git keeps: name another place"):
            score.run(path, out, site_too=False, synthetic=False)
    with pytest.raises(UserError, match=r"params.yaml is or holds what Git keeps"):
        machine.check_file(ROOT / "params.yaml")


def test_the_columns_of_scikit_learn_are_enough_and_one_of_two_classes_can_be_named_positive(here):
    table = predictions()
    given = pd.DataFrame({"y_true": (table["label"] == "ALL").astype(int), "y_score": table["p_ALL"]})
    report, sentence = run(given, here)
    reference, _ = run(table.drop(columns="patient"), here)
    assert [report["classes"], report["positive"]] == [["0", "1"], "1"]
    assert report["models"][0]["metrics"] == pytest.approx(reference["models"][0]["metrics"])
    balanced = f"Balanced accuracy {100 * report['models'][0]['by_subject']['balanced_accuracy']['value']:.1f} %"
    assert f"their predictions: {balanced} [" in sentence
    assert "(per image: the patients are not known" in sentence
    turned, _ = run(table, here, positive="HEM")
    assert turned["positive"] == "HEM"
    first, second = (found["models"][0]["metrics"] for found in (turned, reference))
    assert [first["sensitivity"], first["specificity"]] == [second["specificity"], second["sensitivity"]]
    for positive, wrong, says in (
        ("BLAST", table, "--positive BLAST: the classes are HEM and ALL; use one of them"),
        ("2", given, "--positive 2: the classes are 0 and 1; use one of them"),
        (None, given.assign(y_true=1), "column 'y_true' has the labels 1; a score is of two"),
        (None, given.assign(y_score=2), "line 2, column 'y_score': 2 is not a probability between 0 and 1"),
        (None, given.drop(columns="y_score"), "column 'y_score' is missing"),
    ):
        with pytest.raises(UserError, match=says):
            run(wrong, here, positive=positive)


def test_the_first_page_has_headline_curves_explorer_confusion_patients_and_calibration(here):
    """Names of any writing get addresses of their own."""
    table = pd.concat([predictions().assign(model="خ"), predictions(seed=2).assign(model="م")])
    run(table, here, site_too=True, title="Two <b>models</b>")
    page = (here / "out/site/index.html").read_text()
    assert "Two &lt;b&gt;models&lt;/b&gt;" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    figures = {"forest", "roc", "precision-recall", "strip-model-1", "strip-model-2", "reliability"}
    assert {f"figure-{name}" for name in figures} | {"confusion", "patients", "threshold-model-2"} <= set(ids)
    assert not (here / "out/site/decisions.html").exists()
