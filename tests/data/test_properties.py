"""What holds for any names, any links between patients, and any data that can be split."""

import csv
import string
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st

from job.contracts.split import Split
from job.data import cnmc
from job.data.prepare import prepare
from job.data.subjects import assign, natural
from job.data.tree import shown
from job.errors import UserError
from job.split.assignment import split
from tests.fixtures import cells
from tests.fixtures.parameters import data, split_params

NUMBER = st.integers(1, 999)
HOSTILE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)


@given(NUMBER, NUMBER, NUMBER, st.sampled_from(["all", "hem"]), st.sampled_from(["bmp", "PNG", "jpeg"]), st.randoms())
def test_an_official_name_is_read_in_any_spelling(patient, image, cell, label, suffix, random):
    name = f"UID_{'H' if label == 'hem' else ''}{patient}_{image}_{cell}_{label}"
    spelt = "".join(c.lower() if random.random() < 0.5 else c.upper() for c in name)
    expected = (f"{'H' if label == 'hem' else ''}{patient}", label.upper())
    assert cnmc.parse_name(f"{spelt}.{suffix}") == expected


@given(st.text(max_size=60))
def test_no_text_is_mistaken_for_an_official_name(text):
    parsed = cnmc.parse_name(text)
    if parsed:
        patient, label = parsed
        assert text.upper().startswith(f"UID_{patient}_")
        assert set(patient) <= set("H" + string.digits)
        assert label in cnmc.CLASSES


@given(st.lists(st.sampled_from(["training_data", "fold_0", "all", "a"]), min_size=1, max_size=5), st.integers(1, 3))
def test_folders_that_repeat_themselves_change_nothing(parts, times):
    plain = cnmc.official("/".join([*parts, "x.bmp"]))
    repeated = cnmc.official("/".join([part for part in parts for _ in range(times)] + ["x.bmp"]))
    assert plain == repeated


@example(["1", "01", "H2", "H10"])
@given(st.lists(st.text("01H²٣", max_size=4) | st.text(max_size=9), max_size=12))
def test_any_names_can_be_sorted(names):
    backwards = names[::-1]
    assert sorted(names, key=natural) == sorted(backwards, key=natural)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_shown_can_be_written_in_one_line(text):
    assert not any(c in shown(text) for c in "\n\r\0")
    shown(text).encode()


PEOPLE = st.lists(st.tuples(st.sampled_from(["", *"abcdefgh"]), st.integers(0, 12)), min_size=1, max_size=40)


@given(PEOPLE)
def test_subjects_are_the_connected_sets_of_patients(rows):
    """Against a search that needs no library: join until nothing changes."""
    index = pd.DataFrame(rows, columns=["patient", "cell"])
    index.insert(0, "image", [f"{n}.png" for n in range(len(index))])
    index["cell"] = index["cell"].astype(str)
    groups = [{n} for n in range(len(index))]
    for column in ("patient", "cell"):
        for value in set(index[column]) - {""}:
            same = set(index.index[index[column] == value])
            touched = [group for group in groups if group & same]
            groups = [group for group in groups if not group & same] + [set().union(*touched)]
    subjects = assign(index)
    assert {frozenset(index.index[subjects == name]) for name in set(subjects)} == {frozenset(g) for g in groups}


@st.composite
def indexes(draw):
    """Patients with cells of one or several classes, some linked, and images without any label."""
    classes = draw(st.lists(HOSTILE, min_size=2, max_size=4, unique=True))
    people = draw(st.lists(
        st.lists(st.integers(0, 4), min_size=len(classes), max_size=len(classes)), min_size=8, max_size=20
    ))  # fmt: skip
    rows = [
        (f"P{person}", label)
        for person, counts in enumerate(people)
        for label, count in zip(classes, counts, strict=True)
        for _ in range(count)
    ]
    rows += [("", "")] * draw(st.integers(0, 5))
    assume(len({label for _, label in rows} - {""}) > 1)
    index = pd.DataFrame(rows, columns=["patient", "label"])
    index.insert(0, "row", np.arange(len(index)))
    index["image"] = [f"{n}.png" for n in range(len(index))]
    pixels = draw(st.lists(st.integers(0, 400), min_size=len(index), max_size=len(index)))
    index["cell"] = [str(pixel) for pixel in pixels]
    index["origin"] = "train"
    return index.assign(subject=assign(index))


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(
    indexes(), st.integers(0, 99), st.sampled_from(["image", "subject"]), st.floats(0.1, 0.5),
    st.sampled_from(["masked_half", "pool", "both"]),
)  # fmt: skip
def test_whatever_the_classes_no_subject_is_on_two_sides(index, seed, fold_by, share, unlabelled):
    try:
        wanted = split_params(
            seed=seed, test="fraction", test_share=share, folds=2, fold_by=fold_by, unlabelled=unlabelled
        )
        table, proof = split(index, wanted)
        Split(Path(), table).check_halves(wanted.labelled_share, fold_by)
    except UserError:
        reject()  # too few subjects of a class for such a split
    frame = index.assign(role=table["role"], fold=table["fold"], half=table["half"], pool=table["pool"] == 1)
    labelled = frame[frame["label"] != ""]
    assert (labelled.groupby("subject")["role"].nunique() == 1).all()
    assert set(proof["disjoint"].values()) == {0}
    train, test = (frame[frame["role"] == role] for role in ("train", "test"))
    assert set(train["label"]) == set(test["label"]) == set(labelled["label"])
    assert not set(frame.loc[frame["pool"], "subject"]) & set(test["subject"])
    never = frame[frame["pool"] & (frame["role"] == "unlabelled")]
    assert not set(never["cell"]) & set(train["cell"])
    if fold_by == "subject":
        assert (train.groupby("subject")["fold"].nunique() == 1).all()
        assert (train.groupby("subject")["half"].nunique() == 1).all()
        assert not set(never["subject"]) & set(train["subject"])
    for entry in proof["folds"]:
        rest = train[train["fold"] != entry["fold"]]
        assert set(rest.loc[rest["half"] == "labelled", "label"]) == set(labelled["label"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(HOSTILE, min_size=3, max_size=3, unique_by=lambda name: name.casefold().strip()), HOSTILE)
def test_any_names_of_classes_and_patients_come_back_as_they_were(tmp_path_factory, classes, patient):
    assume(all(name.strip() for name in [*classes, patient]))
    root = tmp_path_factory.mktemp("mine")
    rows = [(f"{n} ,\"'é.png", patient if n < 3 else "q", classes[n % 3].strip()) for n in range(6)]
    for number, (file, *_) in enumerate(rows):
        cells.save(root / file, cells.disc(number))
    with (root / "labels.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("file", "patient", "label"), *rows])
    out = tmp_path_factory.mktemp("out")
    try:
        summary = prepare(data(root), out)
    except UserError as error:
        # Two names that compatibility makes one, or a name that stands for a missing value and leaves two classes.
        refusals = ("differ only in case", "stands for a missing value", "do not say which class is the positive one")
        assert any(refusal in str(error) for refusal in refusals)  # noqa: PT017
        return
    index = pd.read_csv(out / "index.csv", dtype=str, keep_default_na=False)
    assert sorted(summary["classes"]) == sorted(set(index["label"]))
    assert len(summary["classes"]) == 3
    assert index["label"].nunique() == 3
    assert index["patient"].nunique() == len({patient.strip(), "q"})
