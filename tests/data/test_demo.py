"""The synthetic cells: layout, counts, determinism, and how hard they are."""

import csv
import hashlib
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from job.demo import cells
from job.demo import cohort as demo
from job.errors import UserError
from job.seeds import generator

NAME = re.compile(r"UID_(?P<patient>H?h?\d+)_(?P<image>\d+)_(?P<cell>\d+)_(?P<label>all|hem)\.png")


def write(root: Path, seed: int, *, patients: int = 20, images: int = 24, unlabelled: int = 3) -> Path:
    root.mkdir()
    demo.write(root, seed=seed, patients=patients, images=images, unlabelled=unlabelled, drawn=lambda: None)
    return root


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def labels(root: Path) -> list[dict[str, str]]:
    with (root / "validation_data/C-NMC_test_prelim_phase_data_labels.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("demo") / "cells", seed=2019, patients=40, images=120, unlabelled=9)


@pytest.fixture(scope="module")
def training(root: Path) -> dict[Path, re.Match[str]]:
    names = {}
    for path in sorted((root / "training_data").rglob("*.png")):
        names[path] = NAME.fullmatch(path.name)
        assert names[path], path
        assert path.parent.name == names[path]["label"]
        assert path.parent.parent.name in {"fold_0", "fold_1", "fold_2"}
    return names


def test_counts_are_met_exactly_in_the_public_proportions(root, training):
    # Of 101 patients and 12528 images: 47/7272 and 26/3389 in training, 13/1219 and 15/648 in the preliminary part.
    names = [("train", name) for name in training.values()]
    names += [("preliminary", NAME.fullmatch(row["Patient_ID"])) for row in labels(root)]
    assert len(names) == 120
    patients, images = defaultdict(set), Counter()
    for part, name in names:
        patients[name["label"], part].add(name["patient"].upper())
        images[name["label"], part] += 1
    public = {("all", "train"): 47, ("hem", "train"): 26, ("all", "preliminary"): 13, ("hem", "preliminary"): 15}
    assert sum(len(group) for group in patients.values()) == 40
    assert len(set.union(*patients.values())) == 40, "a patient is in two classes or two parts"
    assert all(abs(len(patients[group]) - 40 * number / 101) < 1 for group, number in public.items())
    assert images["all", "train"] == pytest.approx(120 * 7272 / 12528, abs=1)
    assert images["hem", "train"] == pytest.approx(120 * 3389 / 12528, abs=1)


def test_preliminary_part_is_renumbered_and_labelled_by_its_table(root):
    rows = labels(root)
    folder = root / "validation_data/C-NMC_test_prelim_phase_data"
    assert list(rows[0]) == ["Patient_ID", "new_names", "labels"]
    assert [row["new_names"] for row in rows] == [f"{n}.png" for n in range(1, len(rows) + 1)]
    assert {path.name for path in folder.iterdir()} == {row["new_names"] for row in rows}
    for row in rows:
        assert row["labels"] == {"all": "1", "hem": "0"}[NAME.fullmatch(row["Patient_ID"])["label"]]
    originals = [row["Patient_ID"] for row in rows]
    assert len(set(originals)) == len(originals)
    assert originals != sorted(originals), "the new numbers tell who the patient is"


def test_preliminary_table_gives_each_file_its_own_label(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "sample", lambda label, *_: label)
    monkeypatch.setattr(cells, "draw", lambda label, _: np.full((2, 2, 3), 1 if label == "all" else 0, np.uint8))
    monkeypatch.setattr(demo, "ProcessPoolExecutor", lambda **_: ThreadPoolExecutor())  # which sees the patches
    root = write(tmp_path / "cells", seed=1, patients=101, images=640)
    rows = labels(root)
    assert {row["labels"] for row in rows} == {"0", "1"}
    for row in rows:
        with Image.open(root / "validation_data/C-NMC_test_prelim_phase_data" / row["new_names"]) as image:
            assert image.getpixel((0, 0))[0] == int(row["labels"])


def test_final_part_has_neither_labels_nor_patients(root):
    folder = root / "testing_data/C-NMC_test_final_phase_data"
    assert sorted(int(path.stem) for path in folder.iterdir()) == list(range(1, 10))
    assert {path.name for path in (root / "testing_data").iterdir()} == {folder.name}


def test_healthy_patients_are_named_h_and_one_in_lower_case(training):
    names = {name["patient"]: name["label"] for name in training.values()}
    assert all(label == ("hem" if patient.upper().startswith("H") else "all") for patient, label in names.items())
    assert [patient for patient in names if patient.startswith("h")] == ["h3"]
    assert "H3" not in names


def test_each_patient_is_in_one_training_fold(training):
    folds = defaultdict(set)
    for path, name in training.items():
        folds[name["patient"]].add(path.parent.parent.name)
    assert all(len(parts) == 1 for parts in folds.values())


def test_marker_says_synthetic(root):
    assert "synthetic" in (root / "SYNTHETIC.txt").read_text(encoding="utf-8")


def test_byte_identical_copies_link_patients_of_one_class(root, training):
    images = defaultdict(list)
    for path in root.rglob("*.png"):
        images[path.read_bytes()].append(path)
    groups = {"all": [], "hem": []}
    for paths in images.values():
        if len(paths) > 1:
            names = [training[path] for path in paths]  # a copy outside the training part would be a KeyError
            assert len({name["label"] for name in names}) == 1
            linked = {name["patient"] for name in names}
            assert len(linked) == len(names)
            touched = [group for group in groups[names[0]["label"]] if group & linked]
            merged = linked.union(*touched)
            groups[names[0]["label"]] = [g for g in groups[names[0]["label"]] if g not in touched] + [merged]
    assert sorted(len(group) for group in groups["all"]) == [2, 3]
    assert [len(group) for group in groups["hem"]] == [2]


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first = digests(write(tmp_path / "first", seed=2019))
    assert digests(write(tmp_path / "again", seed=2019)) == first
    other = digests(write(tmp_path / "other", seed=2020))
    assert set(first.values()) & set(other.values()) == {first["SYNTHETIC.txt"]}


def test_cells_lie_near_the_centre_on_pure_black(root):
    for path in sorted(root.rglob("*.png"))[::4]:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((450, 450), "RGB")
            pixels = np.asarray(image)
        cell = pixels.any(axis=2)
        assert (pixels[cell] > 0).all(), "the contour of the cell is not sharp"
        rows, columns = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
        centre = np.array([rows[0] + rows[-1], columns[0] + columns[-1]]) / 2
        assert np.abs(centre - 225).max() < 55  # 54 is the largest of the public training images
        box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert cell.sum() > 0.45 * box
        red, green, blue = pixels[cell].mean(axis=0)
        assert green < red < blue, "the stain is not violet"


def test_box_area_alone_separates_the_classes_as_in_the_public_set(monkeypatch):
    # The public training images give AUC 0.81, and a longest side of 220 pixels in the median. Boxes do not depend on
    # the texture, which takes most of the time to draw.
    texture = np.random.default_rng(0).standard_normal((cells.SIDE, cells.SIDE), dtype=np.float32)
    monkeypatch.setattr(cells, "_texture", lambda shape, *_: texture[: shape[0], : shape[1]].copy())
    people = demo.cohort(seed=2019, patients=101, images=600, unlabelled=0)
    areas, sides, truth = [], [], []
    for patient, number in ((who, number) for who in people for number in range(who.images)):
        person = generator(2019, "demo", "patient", patient.name)
        rng = generator(2019, "demo", "cell", patient.name, number)
        mask = cells.draw(cells.sample(patient.label, person, rng), rng).any(axis=2)
        height, width = (np.ptp(np.flatnonzero(mask.any(axis=axis))) + 1 for axis in (1, 0))
        areas.append(height * width)
        sides.append(max(height, width))
        truth.append(patient.label == "all")
    assert 0.78 <= roc_auc_score(truth, areas) <= 0.84
    assert 205 <= np.median(sides) <= 235


def test_image_counts_are_uneven_and_allow_the_reports_test_set():
    people = [p for p in demo.cohort(seed=2019, patients=101, images=600, unlabelled=60) if p.part != "final"]
    for label, count, share in (("all", 11, 0.216), ("hem", 4, 0.143)):
        images = np.array([p.images for p in people if p.label == label])
        assert images.max() >= 3 * np.median(images)
        assert images.max() < 0.15 * images.sum()
        rng = np.random.default_rng(0)
        reached = [rng.choice(images, count, replace=False).sum() for _ in range(2000)]
        assert round(share * images.sum()) in reached


@pytest.mark.parametrize(("patients", "images"), [(20, 80), (101, 101), (300, 3000)])
def test_other_sizes_meet_their_counts(patients, images):
    people = demo.cohort(seed=5, patients=patients, images=images, unlabelled=50)
    labelled = [p for p in people if p.part != "final"]
    assert (len(labelled), sum(p.images for p in labelled)) == (patients, images)
    assert min(p.images for p in people) >= 1
    assert sum(p.images for p in people if p.part == "final") == 50


def test_fewer_images_than_patients_is_refused_with_a_remedy():
    with pytest.raises(
        UserError, match=r"demo\.images is 80.*200 patients.*raise demo\.images or lower demo\.patients"
    ):
        demo.cohort(seed=1, patients=200, images=80, unlabelled=0)
