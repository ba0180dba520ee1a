"""The published set itself: all of its names with tiny stand-in pixels, and a sample of its images."""

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from job.data import cnmc, images
from job.data.prepare import prepare
from job.split import holdout
from job.split.assignment import split
from tests import ROOT
from tests.fixtures.parameters import data, split_params

SHARED = Path(os.environ.get("CNMC_FACTS", ROOT.parent / "shared" / "cnmc"))
pytestmark = [
    pytest.mark.skipif(
        not (SHARED / "official_index.csv").is_file(), reason="facts of C-NMC are not on this machine (set CNMC_FACTS)"
    ),
]
NAMES = {"image": str, "label": str, "patient": str, "subject": str}


def stand_in(sha256: str) -> bytes:
    """A BMP of 8 x 8 pixels, a black border around pixels that follow from the digest of the published file."""
    inner = (np.frombuffer(bytes.fromhex(sha256) * 4, np.uint8)[:108] | 64).reshape(6, 6, 3)
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[1:7, 1:7] = inner
    header = struct.pack("<2sIII", b"BM", 54 + pixels.size, 0, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 24, 0, pixels.size, 0, 0, 0, 0) + pixels.tobytes()


@pytest.fixture(scope="module")
def official():
    return pd.read_csv(SHARED / "official_index.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def whole(official, tmp_path_factory):
    """The summary and the index of all 15,114 images; files that are copies in the published set are copies here."""
    root = tmp_path_factory.mktemp("official")
    for folder in sorted({path.rsplit("/", 1)[0] for path in official["path"]}):
        (root / folder).mkdir(parents=True)
    for path, digest in zip(official["path"], official["sha256"], strict=True):
        (root / path).write_bytes(stand_in(digest))
    shutil.copy(SHARED / "official_preliminary_labels.csv", root / cnmc.PRELIMINARY_LABELS)
    out = tmp_path_factory.mktemp("prepared")
    summary = prepare(data(root), out)
    shutil.rmtree(root)
    return summary, pd.read_csv(out / "index.csv", dtype=NAMES, keep_default_na=False)


def test_the_whole_set_is_recognised_and_complete(whole):
    summary, _ = whole
    assert (summary["name"], summary["layout"]) == ("C-NMC 2019", "c-nmc")
    assert (summary["images"], summary["labelled"], summary["rejected"]) == (15_114, 12_528, 0)
    assert summary["warnings"] == []
    assert (summary["patients"], summary["subjects"]) == (101, 94)


def test_every_image_has_its_published_class_and_patient(whole, official):
    index = whole[1].set_index("image")
    facts = official.set_index("path").loc[index.index]
    assert (index["label"] == facts["class"].str.upper()).all()
    assert (index["patient"] == facts["patient"].str.upper()).all()
    assert (index["patient"] == "H3").sum() == facts["patient"].str.upper().eq("H3").sum() >= 36


def test_patients_and_subjects_of_the_whole_set(whole):
    index = whole[1]
    labelled = index[index["label"] != ""]
    counts = labelled.groupby("label").agg(
        patients=("patient", "nunique"), subjects=("subject", "nunique"), images=("image", "size")
    )
    assert counts.loc["ALL"].tolist() == [60, 57, 8491]
    assert counts.loc["HEM"].tolist() == [41, 37, 4037]
    subjects = set(labelled["subject"])
    assert {"20+21", "51+75+78", "H2+H4+H5+H6", "H3+H10"} <= subjects
    assert whole[0]["copies"]["linked_patients"] == [["20", "21"], ["51", "75", "78"], ["H2", "H4", "H5", "H6"],
                                                     ["H3", "H10"]]  # fmt: skip


@pytest.mark.parametrize("fold_by", ["image", "subject"])
def test_the_report_split_has_exactly_the_numbers_of_table_1(whole, fold_by):
    index = whole[1]
    table, proof = split(index, split_params(seed=3, fold_by=fold_by))
    counts = index.assign(role=table["role"])
    counts = counts[counts["label"] != ""].groupby(["role", "label"]).agg(
        patients=("patient", "nunique"), images=("image", "size")
    )  # fmt: skip
    assert counts.loc[("test", "ALL")].tolist() == [11, 1836]
    assert counts.loc[("test", "HEM")].tolist() == [4, 578]
    assert counts.loc[("train", "ALL")].tolist() == [49, 6655]
    assert counts.loc[("train", "HEM")].tolist() == [37, 3459]
    assert sum(row["images"] for row in proof["patients"]) == 12_528
    for row in proof["patients"]:
        assert sum(row["folds"]) == (row["images"] if row["role"] == "train" else 0)


def test_for_a_hundred_seeds_no_subject_is_on_two_sides(whole):
    index = whole[1]
    drawn = set()
    labelled = index[index["label"] != ""]
    for seed in range(100):
        held_out, _, target = holdout.test_set(index, split_params(seed=seed))
        in_test = labelled["subject"].isin(held_out)
        for column in ("subject", "patient", "pixel_sha256"):
            assert not set(labelled.loc[in_test, column]) & set(labelled.loc[~in_test, column])
        assert all(entry["wanted"] == entry["reached"] for entry in target.values())
        drawn.add(frozenset(held_out))
        if seed % 20 == 0:
            table, proof = split(index, split_params(seed=seed))
            assert set(table.loc[table["role"] == "test", "subject"]) == held_out
            assert set(proof["disjoint"].values()) == {0}
    assert len(drawn) > 95  # there are 79 ways for HEM and 67 million for ALL


def test_of_twenty_draws_the_healthy_test_patients_are_nearly_equal(whole):
    index, effective = whole[1], {}
    for draws in (1, 20):
        found = []
        for seed in range(60):
            held_out, *_ = holdout.test_set(index, split_params(seed=seed, draws=draws))
            images = index[(index["label"] == "HEM") & index["subject"].isin(held_out)].groupby("subject").size()
            found.append(images.sum() ** 2 / (images**2).sum())
        effective[draws] = np.mean(found)
    assert effective[20] > effective[1] + 0.4


def test_the_official_split_is_73_against_28_patients(whole):
    index = whole[1]
    table, _ = split(index, split_params(seed=0, test="official"))
    patients = index.groupby(table["role"])["patient"].nunique()
    assert (patients["train"], patients["test"]) == (73, 28)
    assert (table["role"] == "test").sum() == 1867


def test_the_final_phase_is_a_pool_that_shares_nothing_with_labelled_images(whole):
    index = whole[1]
    table, proof = split(index, split_params(unlabelled="pool", labelled_share=1.0))
    pool = table[table["pool"] == 1]
    assert set(pool["role"]) == {"unlabelled"}
    assert proof["unlabelled"] == {"of": "pool", "masked": 0, "pool": 2_586}
    assert (table.loc[table["role"] == "train", "half"] == "labelled").all()


def test_the_real_sample(tmp_path, official):
    root = SHARED / "C-NMC_Leukemia"
    summary = prepare(data(root, pixels=48, crop=300), tmp_path)
    assert (summary["images"], summary["patients"], summary["subjects"]) == (104, 47, 45)
    assert summary["copies"]["linked_patients"] == [["20", "21"], ["H2", "H4"]]
    assert summary["name"] == "C-NMC 2019 (partial copy)"
    assert "104 of 15,114 images. training_data/fold_0/all has 21 of 2,397" in summary["warnings"][0]
    index = pd.read_csv(tmp_path / "index.csv").set_index("image")
    facts = official.set_index("path").loc[index.index]
    assert (index["file_sha256"] == facts["sha256"]).all()
    boxes = facts.loc[facts["box_w"] != "", ["box_x", "box_y", "box_w", "box_h"]].astype(int)
    ours = index.loc[boxes.index, ["box_x", "box_y", "box_w", "box_h"]]
    assert (ours.to_numpy() - boxes.to_numpy()).__abs__().max() <= 1  # the published boxes count to the last pixel


def test_the_boxes_of_jpeg_copies_are_the_published_ones(tmp_path, official):
    """JPEG leaves values up to 26 around a cell: they are background."""
    facts = official[official["box_w"] != ""].set_index("path")
    copy = tmp_path / "copy.jpg"
    for path in (SHARED / "C-NMC_Leukemia/training_data").rglob("*.bmp"):
        with Image.open(path) as original:
            original.save(copy, quality=90)
        box = images.read(copy, 48, 300, "cell")[1].box
        published = facts.loc[path.relative_to(SHARED / "C-NMC_Leukemia").as_posix(), "box_x":"box_h"].astype(int)
        assert np.abs(published.to_numpy() - np.array(box)).max() <= 2, path.name
