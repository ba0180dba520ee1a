"""The ensemble stage and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from job.contracts.dataset import read_dataset
from job.contracts.predictions import read_fold
from job.contracts.split import read_split
from job.errors import UserError
from job.stages import ensemble
from tests.fixtures.run_tree import edit_params

FOLD = Path("predictions/noisy_student/fold-2.csv")
SPLIT = Path("data/split.csv")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def write(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def test_each_training_image_is_pooled_once_with_the_fold_that_did_not_train_on_it(tree):
    split = read(SPLIT)
    table = read(Path("ensembles/noisy_student/predictions.csv"))
    pooled = table[table["rule"] == "out_of_fold"].set_index("image")
    train = split[split["role"] == "train"].set_index("image")
    assert sorted(pooled.index) == sorted(train.index)
    for fold in range(1, 4):
        rows = read(Path(f"predictions/noisy_student/fold-{fold}.csv"))
        last = rows[(rows["role"] == "validation") & (rows["iteration"] == "2")].set_index("image")
        assert set(last.index) == set(train.index[train["fold"] == str(fold)])
        own = pooled.loc[last.index, "p_ALL"].astype(float)
        np.testing.assert_allclose(own, last["p_ALL"].astype(float), atol=1e-6)


@pytest.mark.parametrize(("method", "last"), [("efficientnet", "0"), ("noisy_student", "2")])
def test_the_vote_is_that_of_the_last_iterations(tree, method, last):
    folds = [read(Path(f"predictions/{method}/fold-{fold}.csv")) for fold in range(1, 4)]
    calls = []
    for rows in folds:
        final = rows[(rows["iteration"] == last) & rows["role"].isin(["test", "unlabelled"])].set_index("image")
        calls.append(final["p_ALL"].astype(float) > 0.5)
    votes = pd.concat(calls, axis=1).sum(axis=1)
    table = read(Path(f"ensembles/{method}/predictions.csv"))
    majority = table[table["rule"] == "majority"].set_index("image")
    assert majority["votes_ALL"].astype(int).to_dict() == votes.to_dict()
    assert (majority["predicted"] == np.where(votes.loc[majority.index] >= 2, "ALL", "HEM")).all()
    mean = table[table["rule"] == "mean"].set_index("image")
    assert majority["p_ALL"].equals(mean["p_ALL"]), "the score behind a vote is the mean probability"


def test_folds_of_different_parameters_are_no_ensemble(tree):
    path = Path("runs/noisy_student/fold-2/model.json")
    before = path.read_text()
    facts = json.loads(before)
    facts["parameters"]["train"]["epochs"] = 5
    path.write_text(json.dumps(facts))
    try:
        with pytest.raises(
            UserError, match=r"folds 1 and 2 .* different parameters \(train\.epochs\): .*student-1` or"
        ):
            ensemble.run("noisy_student")
    finally:
        path.write_text(before)


def test_members_are_recorded(tree):
    record = json.loads(Path("ensembles/noisy_student/ensemble.json").read_text())
    digests = [
        json.loads(Path(f"runs/noisy_student/fold-{k}/model.json").read_text())["weights_sha256"] for k in range(1, 4)
    ]
    assert record == {
        "method": "noisy_student", "classes": ["HEM", "ALL"],
        "members": [{"fold": k, "weights_sha256": digest} for k, digest in enumerate(digests, start=1)],
        "rule": "majority", "tie_break": "mean probability", "views": 1, "temperature": record["temperature"],
    }  # fmt: skip


def test_an_even_number_of_folds_counts_its_ties(tree):
    edit_params(tree, folds=[1, 2])
    sentence = ensemble.run("efficientnet")
    table = read(Path("ensembles/efficientnet/predictions.csv"))
    tied = table[(table["rule"] == "majority") & (table["tie"] == "True")]
    assert len(tied) > 0
    assert (tied["votes_HEM"] == "1").all()
    assert (tied["votes_ALL"] == "1").all()
    means = table[table["rule"] == "mean"].set_index("image").loc[tied["image"], "predicted"]
    assert means.tolist() == tied["predicted"].tolist()
    assert f"({len(tied)} ties)" in sentence


def test_views_are_recorded_and_are_the_same_in_every_fold(tree):
    """`predict` sees new cells as the evaluated ones were seen, whatever params.yaml says by then."""
    files = sorted(Path("predictions/efficientnet").glob("*.csv"))
    for path in files:
        path.write_text(read(path).assign(views="8").to_csv(index=False))
    ensemble.run("efficientnet")
    assert json.loads(Path("ensembles/efficientnet/ensemble.json").read_text())["views"] == 8
    for damaged, says in (
        (lambda t: t.assign(views="1"), "must be 1 in all .* not 1, 8"),
        (lambda t: t.drop(columns="views"), "is missing"),
    ):
        files[0].write_text(damaged(read(files[0])).to_csv(index=False))
        with pytest.raises(UserError, match=rf"predictions/efficientnet.*: column 'views' {says}: run `dvc repro`"):
            ensemble.run("efficientnet")


def test_the_same_inputs_give_the_same_bytes(tree):
    names = ("predictions.csv", "ensemble.json")
    before = [Path("ensembles/noisy_student", name).read_bytes() for name in names]
    ensemble.run("noisy_student")
    assert [Path("ensembles/noisy_student", name).read_bytes() for name in names] == before


def drop(table, role):
    return table.drop(table.index[(table["role"] == role) & (table["iteration"] == "2")][0])


def repeat(table):
    return pd.concat([table, table.iloc[[-1]]])


def change(column, value, line=7):
    def changed(table):
        table.loc[line - 2, column] = value
        return table

    return changed


def rename(table):
    table.loc[table["role"] == "test", "image"] = "other/" + table["image"]
    return table


def swap_validation(table):
    """Predictions of another fold's validation images under this fold's number."""
    other = read(FOLD.with_name("fold-3.csv")).assign(fold="2")
    return pd.concat([table[table["role"] != "validation"], other[other["role"] == "validation"]])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda t: drop(t, "test"), r"a test image of fold 2 in data/split\.csv, is missing"),
        (lambda t: drop(t, "validation"), r"a validation image of fold 2 in data/split\.csv, is missing"),
        (lambda t: drop(t, "unlabelled"), r"an? unlabelled image of fold 2 in data/split\.csv, is missing"),
        (lambda t: drop(t, "masked"), r"a masked image of fold 2 in data/split\.csv, is missing"),
        (lambda t: t[t["role"] != "test"], r"a test image of fold 2 in data/split\.csv, is missing"),
        (lambda t: t.iloc[:0], "holds no predictions"),
        (repeat, r"line \d+, column 'image': '.+' occurs twice"),
        (rename, r"line \d+, .*other/.+ is not a test image of fold 2 in data/split\.csv.*another split"),
        (swap_validation, r"line \d+, .+ is not a validation image of fold 2.*another split"),
        (change("p_ALL", "1.25"), r"line 7, column 'p_ALL': 1\.25 is not a probability between 0 and 1"),
        (change("p_HEM", "nan"), r"line 7, column 'p_HEM': nan is not a probability"),
        (change("p_HEM", "much"), r"line 7, column 'p_HEM': 'much' is not a number"),
        (change("p_HEM", "0.999"), r"line 7: the probabilities sum to [\d.]+, not 1"),
        (change("role", "train"), r"line 7, column 'role': 'train' is not one of validation, masked, test, unlabelled"),
        (change("fold", "4"), r"line 7, column 'fold': 4 is not 2"),
        (change("iteration", "last"), r"line 7, column 'iteration': 'last' is not a number"),
        (lambda t: t.drop(columns="p_ALL"), "column 'p_ALL' is missing"),
    ],
)  # fmt: skip
def test_a_wrong_fold_file_is_refused_with_file_place_and_remedy(tree, damage, says):
    write(FOLD, damage(read(FOLD)))
    with pytest.raises(UserError, match=f"^{re.escape(str(FOLD))}.*{says}.*dvc repro"):
        ensemble.run("noisy_student")


def test_a_missing_a_cut_off_and_a_binary_fold_file_are_refused(tree):
    whole = FOLD.read_bytes()
    for content, says in ((whole[:-9], "has . values, not 8|not 1:|not a number"), (b"\xff\xfe\x00", "not UTF-8"),
                          (b"", "column 'row' is missing")):  # fmt: skip
        FOLD.write_bytes(content)
        with pytest.raises(UserError, match=f"{re.escape(str(FOLD))}.*({says}).*dvc repro"):
            ensemble.run("noisy_student")
    FOLD.unlink()
    with pytest.raises(UserError, match=f"{re.escape(str(FOLD))} does not exist: run `dvc repro`"):
        ensemble.run("noisy_student")


def test_a_split_drawn_again_makes_the_old_folds_strangers(tree):
    split = read(SPLIT)
    train = split["role"] == "train"
    split.loc[train, "fold"] = np.roll(split.loc[train, "fold"], 1)
    write(SPLIT, split)
    with pytest.raises(UserError, match=r"predictions/efficientnet/fold-1\.csv: line \d+, .*another split.*dvc repro"):
        ensemble.run("efficientnet")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda t: change("subject", t.loc[t["role"] == "train", "subject"].iloc[0],
                          line=t.index[t["role"] == "test"][0] + 2)(t), "'subject': .+ has training and test images"),
        (lambda t: change("label", "", line=t.index[t["role"] == "train"][0] + 2)(t), "column 'label': '' is not one"),
        (change("role", "held out"), "line 7, column 'role': 'held out' is not one of train, test, unlabelled"),
        (repeat, "occurs twice"),
    ],
)  # fmt: skip
def test_a_wrong_split_is_refused(tree, damage, says):
    write(SPLIT, damage(read(SPLIT)))
    with pytest.raises(UserError, match=f"data/split.csv: .*{says}.*dvc repro"):
        ensemble.run("efficientnet")


def test_line_numbers_hold_below_rows_of_other_roles(tree):
    split = read(SPLIT)
    last = split.index[split["role"] == "train"][-1]
    split.loc[last, "label"] = "BLAST"
    write(SPLIT, split)
    with pytest.raises(UserError, match=f"line {last + 2}, column 'label': 'BLAST' is not one of HEM, ALL"):
        ensemble.run("efficientnet")


def test_digits_of_a_float32_survive_reading(tree):
    dataset = read_dataset(Path("data/prepared/summary.json"))
    table = read_fold(FOLD, 2, read_split(SPLIT, dataset.classes), dataset).set_index(["iteration", "role", "image"])
    raw = read(FOLD)
    keys = pd.MultiIndex.from_arrays([raw["iteration"].astype(int), raw["role"], raw["image"]])
    np.testing.assert_array_equal(
        table.loc[keys, "p_ALL"].astype(np.float32).to_numpy() > 0.5, raw["p_ALL"].astype(np.float32).to_numpy() > 0.5
    )
    np.testing.assert_allclose(table.loc[keys, "p_ALL"], raw["p_ALL"].astype(float), rtol=2e-7)
    np.testing.assert_allclose(table[["p_HEM", "p_ALL"]].sum(axis=1), 1, rtol=0, atol=1e-15)
