import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from job.contracts.split import Split
from job.data.subjects import assign
from job.errors import UserError
from job.seeds import generator
from job.split.assignment import split, truth
from job.split.holdout import choose
from job.stages import split as split_stage
from job.stages import train
from tests import ROOT
from tests.fixtures.parameters import split_params as params
from tests.fixtures.run_tree import edit_params


def make_index(sizes, linked=()):
    """An index of patients with these numbers of images per class; `linked` names pairs of ALL patients."""
    rows = []
    for label, counts in sizes.items():
        for number, count in enumerate(counts):
            patient = f"{'H' if label == 'HEM' else ''}{number + 1}"
            rows += [(f"{label}/{patient}/{n}.png", label, patient, patient) for n in range(count)]
    table = pd.DataFrame(rows, columns=["image", "label", "patient", "subject"])
    for first, second in linked:
        table.loc[table["patient"].isin([first, second]), "subject"] = f"{first}+{second}"
    table["origin"] = "train"
    table["cell"] = table["image"]
    table.insert(0, "row", np.arange(len(table)))
    return table


SIZES = st.lists(st.integers(1, 12), min_size=8, max_size=20)


@settings(max_examples=40)
@given(SIZES, SIZES, st.integers(0, 2**31), st.sampled_from(["image", "subject"]), st.floats(0.2, 0.8), st.data())
def test_copies_of_an_image_validate_together_and_are_masked_together(all_sizes, hem_sizes, seed, fold_by, share, data):
    """With folds by image a copy would otherwise validate, or be masked, while its twin is learned from."""
    index = make_index({"ALL": all_sizes, "HEM": hem_sizes})
    for rows in index.groupby("label").groups.values():
        for one, other in data.draw(st.lists(st.tuples(*[st.sampled_from(list(rows))] * 2), min_size=1, max_size=3)):
            index.loc[other, "cell"] = index.loc[one, "cell"]
    index["subject"] = assign(index)
    try:
        table, proof = split(index, params(seed=seed, test="fraction", folds=2, fold_by=fold_by, labelled_share=share))
    except UserError:
        reject()
    train = table[table["role"] == "train"]
    for column in ("fold", "half"):
        assert (train.groupby(index["cell"])[column].nunique() == 1).all()
    assert proof["disjoint"]["copies_in_several_folds"] == 0


@settings(max_examples=60)
@given(
    SIZES, SIZES, st.integers(0, 2**31), st.sampled_from(["report", "fraction"]), st.sampled_from(["image", "subject"]),
    st.floats(0.1, 0.9),
)  # fmt: skip
def test_whatever_the_data_no_subject_is_on_two_sides(all_sizes, hem_sizes, seed, test, fold_by, share):
    index = make_index({"ALL": all_sizes, "HEM": hem_sizes}, linked=[("1", "2"), ("4", "7")])
    try:
        table, proof = split(index, params(seed=seed, test=test, folds=2, fold_by=fold_by, labelled_share=share))
    except UserError:
        reject()  # too few images for such a share: the next tests
    roles = table.groupby("subject")["role"].nunique()
    assert (roles == 1).all()
    assert proof["disjoint"] == {
        "subjects_in_train_and_test": 0,
        "patients_in_train_and_test": 0,
        "cells_in_train_and_test": 0,
        "copies_in_several_folds": 0,
    }
    train = table[table["role"] == "train"]
    assert train["fold"].between(1, 2).all()
    assert train["half"].isin(["labelled", "masked"]).all()
    assert (table.loc[table["role"] != "train", ["label", "half"]] == "").all(axis=None)
    assert table.loc[table["role"] != "train", "fold"].isna().all()
    for label in ("ALL", "HEM"):
        assert ((index["label"] == label) & (table["role"] == "test")).any()
    if fold_by == "subject":
        assert (train.groupby("subject")["fold"].nunique() == 1).all()
        assert (train.groupby("subject")["half"].nunique() == 1).all()
        assert all(fold["validation_images_with_training_subject"] == 0 for fold in proof["folds"])


def test_folds_and_halves_are_stratified():
    index = make_index({"ALL": [9] * 30, "HEM": [6] * 20})
    table, proof = split(index, params(labelled_share=0.5))
    train = table[table["role"] == "train"]
    shares = train.groupby("fold")["label"].apply(lambda labels: (labels == "ALL").mean())
    assert shares.max() - shares.min() < 0.02
    labelled = train.groupby(["fold", "label"])["half"].apply(lambda half: (half == "labelled").mean())
    assert labelled.between(0.45, 0.55).all()
    for fold in proof["folds"]:
        assert abs(fold["labelled"] / fold["masked"] - 1) < 0.05
        assert abs(fold["labelled"] / fold["validation"] - 2) < 0.1


def test_the_same_seed_gives_the_same_split_and_another_one_another():
    index = make_index({"ALL": [5] * 20, "HEM": [4] * 15})
    first, again, other = (split(index, params(seed=seed))[0] for seed in (1, 1, 2))
    assert first.equals(again)
    assert set(first.loc[first["role"] == "test", "subject"]) != set(other.loc[other["role"] == "test", "subject"])


def test_an_exact_draw_is_met_and_every_solution_is_as_likely():
    subjects = pd.DataFrame({"patients": [1] * 6, "images": [1, 2, 3, 4, 5, 6]}, index=list("abcdef"))
    drawn = pd.Series("".join(sorted(choose(subjects, 2, 7, generator(seed, "draw")))) for seed in range(3000))
    counts = drawn.value_counts()
    assert set(counts.index) == {"af", "be", "cd"}  # the only pairs that sum to seven
    assert counts.between(900, 1100).all()


def test_never_everybody_and_never_nobody_is_drawn():
    subjects = pd.DataFrame({"patients": [1, 1, 1], "images": [4, 5, 6]}, index=list("abc"))
    assert len(choose(subjects, 3, 15, generator(0, "draw"))) == 2
    assert choose(subjects, 0, 0, generator(0, "draw")) == {"a"}
    # As where each image is a person: counting would take 165 GB.
    many = pd.DataFrame({"patients": 1, "images": 1}, index=[f"s{number}" for number in range(8491)])
    with pytest.raises(UserError, match="8491 subjects are too many to count"):
        choose(many, 1557, 1557, generator(0, "draw"))


def test_a_large_class_needs_little_memory():
    rng = np.random.default_rng(0)
    subjects = pd.DataFrame({"patients": 1, "images": rng.integers(1, 300, 100)}, index=[str(n) for n in range(100)])
    tracemalloc.start()
    chosen = choose(subjects, 11, 1800, generator(0, "draw"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert subjects.loc[list(chosen)].sum().tolist() == [11, 1800]
    assert peak < 30e6


def test_without_an_exact_solution_the_nearest_is_taken_and_the_difference_stated():
    index = make_index({"ALL": [10] * 12, "HEM": [10] * 12})
    _, proof = split(index, params(folds=2))
    target = proof["target"]["ALL"]
    assert target["wanted"] == {"patients": 2, "images": 26}
    assert target["reached"] == {"patients": 2, "images": 20}


def test_official_tests_on_the_preliminary_part_only():
    index = make_index({"ALL": [5] * 12, "HEM": [4] * 12})
    index.loc[index["patient"].isin(["1", "2", "H1", "H2"]), "origin"] = "preliminary"
    table, _ = split(index, params(test="official"))
    assert set(table.loc[table["role"] == "test", "subject"]) == {"1", "2", "H1", "H2"}
    with pytest.raises(UserError, match="the labelled preliminary part of C-NMC"):
        split(index.assign(origin="train"), params(test="official"))


@pytest.mark.parametrize("own_column", [False, True])
@pytest.mark.parametrize(
    ("linked", "left", "part"), [("drop_training", {"3"}, "train"), ("drop_test", {"2"}, "preliminary")]
)
def test_linked_subjects_are_left_out_of_one_side(linked, left, part, own_column):
    index = make_index({"ALL": [5] * 12, "HEM": [4] * 12}, linked=[("2", "3")])
    index.loc[index["patient"].isin(["1", "2", "H1", "H2"]), "origin"] = "preliminary"
    if own_column:  # one patient stands in both parts of a table of one's own: no link is needed
        index["origin"] = index["origin"].replace("preliminary", "test")
        index.loc[index["subject"] == "2+3", "patient"] = "2+3"
        left, part = {"2+3"}, part.replace("preliminary", "test")
    pool = index[index["patient"] == "H1"].assign(label="", origin="final", patient="", subject="2+3")
    pool.loc[pool.index[-1], "subject"] = "nobody's"
    index = pd.concat([index, pool.assign(image="pool/" + pool["image"], cell=pool["image"] + "x")], ignore_index=True)
    index["row"] = np.arange(len(index))
    table, proof = split(index, params(test="official", linked=linked, unlabelled="both", folds=2, fold_by="subject"))
    assert set(table[table["role"] == "left_out"]["image"]) == set(
        index[index["patient"].isin(left) & (index["origin"] == part)]["image"]
    )
    used = table[table["role"].isin(["train", "test"])]
    assert (used.groupby("subject")["role"].nunique() == 1).all()
    assert table.loc[table["role"] == "left_out", ["half", "pool", "label"]].eq(["", 0, ""]).all(axis=None)
    # A picture of a held-out subject does not come back through the pool.
    assert not table.loc[(table["pool"] == 1) & (table["subject"] == "2+3"), "image"].str.startswith("pool").any()
    assert proof["unlabelled"]["pool"] == 1
    assert (proof["left_out"]["linked"], proof["left_out"]["patients"]) == (5, sorted(left))
    with pytest.raises(UserError, match=r"subject 2\+3 on both sides.*1 such.*split\.linked=drop_training"):
        split(index, params(test="official", linked="refuse"))


def test_a_fold_of_the_training_part_is_tested_while_the_preliminary_part_stays_unseen():
    """So does a training patient whose cells are in that part too."""
    index = make_index({"ALL": [5] * 12, "HEM": [4] * 12}, linked=[("2", "3"), ("1", "4"), ("H1", "H3")])
    index.loc[index["patient"].isin(["1", "H1"]), "origin"] = "preliminary"
    index.loc[index["patient"].isin(["2", "H2", "H3"]), "origin"] = "fold_1"
    table, proof = split(index, params(test="fold_1", folds=2))
    who = index.groupby(table["role"])["patient"].unique().map(set)
    assert who["test"] == {"2", "H2"}
    assert who["left_out"] == {"1", "4", "H1", "H3", "3"}
    assert not table.loc[table["role"] == "left_out", "label"].any()
    assert [sentence.split(" left out")[0] for sentence in proof["left_out"]["sentences"]] == [
        "5 training images of patient 3", "18 images of everybody in the data's own test part"
    ]  # fmt: skip


def test_of_several_draws_the_most_even_patients_are_tested():
    sizes = pd.DataFrame({"patients": 1, "images": [90, 5, 5, 30, 30, 40, 10, 50, 20, 80]}, index=list("abcdefghij"))
    effective = {1: [], 30: []}
    for draws, values in effective.items():
        for seed in range(20):
            chosen = choose(sizes, 3, 100, generator(seed), draws)
            images = sizes.loc[list(chosen), "images"]
            values.append(images.sum() ** 2 / (images**2).sum())
    assert min(effective[1]) < 1.3
    assert min(effective[30]) > 2.8


def test_fewer_subjects_than_folds_is_an_error():
    index = make_index({"ALL": [5] * 12, "HEM": [4] * 5})
    with pytest.raises(UserError, match=r"class HEM has 4 subjects left for training, fewer than split\.folds=5"):
        split(index, params())
    with pytest.raises(UserError, match="class HEM has one subject"):
        split(make_index({"ALL": [5] * 12, "HEM": [4]}), params())


@pytest.mark.parametrize(
    ("sizes", "changes", "expected"),
    [
        ({"ALL": [5] * 12, "HEM": [4] * 12}, {"labelled_share": 0.999}, "no image is masked"),
        (
            {"ALL": [5] * 12, "HEM": [4] * 12},
            {"labelled_share": 0.01, "fold_by": "subject"},
            "class ALL has no labelled image",
        ),
    ],
)
def test_a_share_that_leaves_no_teacher_or_no_student_is_an_error(sizes, changes, expected):
    with pytest.raises(UserError, match=rf"split\.labelled_share=.*{expected}"):
        check_halves(make_index(sizes), params(**changes))


def check_halves(index, settings):
    Split(Path(), split(index, settings)[0]).check_halves(settings.labelled_share, settings.fold_by)


def test_a_class_that_only_the_preliminary_part_has_cannot_be_learned():
    index = make_index({"ALL": [5] * 12, "HEM": [4] * 6})
    index.loc[(index["label"] == "HEM") | index["patient"].isin(["1", "2"]), "origin"] = "preliminary"
    with pytest.raises(UserError, match="class HEM has no train images"):
        split(index, params(test="official"))


def test_truth_holds_every_label_and_the_split_only_those_of_training_images():
    index = make_index({"ALL": [5] * 12, "HEM": [4] * 12})
    table, _ = split(index, params())
    assert truth(index)["label"].tolist() == index["label"].tolist()
    assert (table["label"] != "").sum() == (table["role"] == "train").sum()


@pytest.mark.parametrize("methods", [["efficientnet", "linear_probe"], ["efficientnet", "noisy_student"]])
def test_halves_that_no_method_needs_are_not_demanded(methods, tmp_path, monkeypatch):
    """The first method alone would not need them, but stops before hours of training, not after."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    few = {"test": "fraction", "folds": 3, "test_share": 0.1, "labelled_share": 1.0, "fold_by": "subject"}
    edit_params(tmp_path, methods=methods, folds=[1, 2, 3], split=few)
    (tmp_path / "data/prepared").mkdir(parents=True)
    make_index({"ALL": [5] * 4, "HEM": [5] * 4}).to_csv("data/prepared/index.csv", index=False)
    assert "3 folds" in split_stage.run()
    (tmp_path / "data/prepared/summary.json").write_text('{"classes": ["HEM", "ALL"]}')
    if "noisy_student" in methods:
        expected = pytest.raises(UserError, match=r"split\.labelled_share=1\.0: .*no image is masked")
    else:
        expected = pytest.raises(UserError, match=r"images\.npy")  # the next that is missing
    with expected:
        train.run("efficientnet", 1)


@pytest.mark.parametrize("share", [0.49, 0.5, 0.51])
def test_where_halves_cannot_be_made_the_advice_can_be_followed(share):
    index = make_index({"ALL": [5] * 4, "HEM": [5] * 4})
    few = {"test": "fraction", "folds": 3, "labelled_share": share}
    with pytest.raises(UserError, match=r"set split\.fold_by=image, or add patients"):
        check_halves(index, params(fold_by="subject", **few))
    check_halves(index, params(fold_by="image", **few))
