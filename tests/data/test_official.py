"""The published set itself: its index of names and digests, and a sample of its images."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from job.data import cnmc
from job.data.prepare import prepare
from job.data.split import split
from job.data.subjects import assign
from tests import ROOT
from tests.fixtures.parameters import data, split_params

SHARED = Path(os.environ.get("CNMC_FACTS", ROOT.parent / "shared" / "cnmc"))
pytestmark = pytest.mark.skipif(
    not (SHARED / "official_index.csv").is_file(), reason="facts of C-NMC are not on this machine (set CNMC_FACTS)"
)


@pytest.fixture(scope="module")
def index():
    """All 15,114 images; the digest of the file stands in for the pixels, which is right within each part."""
    official = pd.read_csv(SHARED / "official_index.csv", dtype=str, keep_default_na=False)
    table = pd.DataFrame({"image": official["path"], "label": official["class"].str.upper()})
    parsed = official["uid_name"].map(cnmc.parse_name)
    assert parsed[table["label"] != ""].notna().all()
    assert [label for _, label in parsed.dropna()] == table.loc[parsed.notna(), "label"].tolist()
    table["patient"] = parsed.str[0].fillna("")
    table["origin"] = official["split"].map(
        lambda part: {"final_test": "final", "preliminary_test": "preliminary"}.get(part, "train")
    )
    table["pixel_sha256"] = official["sha256"]
    table["subject"] = assign(table)
    table.insert(0, "row", np.arange(len(table)))
    return table


def test_patients_and_subjects_of_the_whole_set(index):
    labelled = index[index["label"] != ""]
    counts = labelled.groupby("label").agg(
        patients=("patient", "nunique"), subjects=("subject", "nunique"), images=("image", "size")
    )
    assert counts.loc["ALL"].tolist() == [60, 57, 8491]
    assert counts.loc["HEM"].tolist() == [41, 37, 4037]
    subjects = set(labelled["subject"])
    assert {"20+21", "51+75+78", "H2+H4+H5+H6", "H3+H10"} <= subjects


@pytest.mark.parametrize("fold_by", ["image", "subject"])
def test_the_report_split_has_exactly_the_numbers_of_table_1(index, fold_by):
    for seed in range(3):
        table, _ = split(index, split_params(seed=seed, fold_by=fold_by))
        counts = index.assign(role=table["role"])
        counts = counts[counts["label"] != ""].groupby(["role", "label"]).agg(
            patients=("patient", "nunique"), images=("image", "size")
        )  # fmt: skip
        assert counts.loc[("test", "ALL")].tolist() == [11, 1836]
        assert counts.loc[("test", "HEM")].tolist() == [4, 578]
        assert counts.loc[("train", "ALL")].tolist() == [49, 6655]
        assert counts.loc[("train", "HEM")].tolist() == [37, 3459]
        assert (table.groupby("subject")["role"].nunique() == 1).all()


def test_the_official_split_is_73_against_28_patients(index):
    table, _ = split(index, split_params(seed=0, test="official"))
    patients = index.groupby(table["role"])["patient"].nunique()
    assert (patients["train"], patients["test"]) == (73, 28)
    assert (table["role"] == "test").sum() == 1867


def test_the_real_sample(tmp_path):
    root = SHARED / "C-NMC_Leukemia"
    summary = prepare(data(root, size=48, crop=300), tmp_path)
    assert (summary["images"], summary["patients"], summary["subjects"]) == (104, 47, 45)
    assert summary["copies"]["linked_patients"] == [["20", "21"], ["H2", "H4"]]
    index = pd.read_csv(tmp_path / "index.csv").set_index("image")
    official = pd.read_csv(SHARED / "official_index.csv").set_index("path").loc[index.index]
    assert (index["file_sha256"] == official["sha256"]).all()
    boxes = official[["box_x", "box_y", "box_w", "box_h"]].dropna()
    ours = index.loc[boxes.index, ["box_x", "box_y", "box_w", "box_h"]]
    assert (ours.to_numpy() - boxes.to_numpy()).__abs__().max() <= 1  # the published boxes count to the last pixel
