"""Which layout is recognised and why, and what each makes of its files."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from job.contracts.names import positive_class
from job.data import layouts
from job.data.prepare import prepare
from job.errors import UserError
from job.split.assignment import split
from job.stages import check as check_stage
from job.stages import prepare as prepare_stage
from job.stages import split as split_stage
from tests import ROOT
from tests.fixtures import cells, three_classes
from tests.fixtures.parameters import data, split_params
from tests.fixtures.run_tree import edit_params

NAMES = {"image": str, "label": str, "patient": str, "subject": str}


def prepared(root, out, **changes):
    out.mkdir(exist_ok=True)
    return prepare(data(root, **changes), out), pd.read_csv(out / "index.csv", dtype=NAMES, keep_default_na=False)


def table(root, text, *, images=("1.png", "2.png", "3.png", "4.png")):
    """A folder with these images and this labels.csv."""
    for number, name in enumerate(images):
        cells.save(root / name, cells.disc(number))
    (root / "labels.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return root


ROWS = "file,patient,label\n1.png,p,ALL\n2.png,q,HEM\n3.png,p,ALL\n4.png,r,HEM\n"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return three_classes.write_csv(tmp_path_factory.mktemp("mixed"), patients=24, images=2)


def moved_deeper(root):
    inner = root / "C-NMC_Leukemia"
    inner.mkdir()
    for path in list(root.iterdir()):
        if path != inner:
            path.rename(inner / path.name)


def twice_deeper(root):
    moved_deeper(root)
    outer = root / "again"
    (root / "C-NMC_Leukemia").rename(outer)
    (root / "C-NMC_Leukemia").mkdir()
    outer.rename(root / "C-NMC_Leukemia/C-NMC_Leukemia")


def folds_doubled(root):
    for fold in list((root / "training_data").iterdir()):
        inner = fold.with_name("moving")
        fold.rename(inner)
        fold.mkdir()
        inner.rename(fold / fold.name)


def as_the_archive(root):
    """The names of The Cancer Imaging Archive, with a folder of the same name inside some."""
    (root / "training_data").rename(root / "C-NMC_training_data")
    for old, new in (("validation_data", "prelim"), ("testing_data", "final")):
        (root / old).rename(root / f"C-NMC_test_{new}_phase_data")


def as_the_archive_flat(root):
    as_the_archive(root)
    for part in ("prelim", "final"):
        folder = root / f"C-NMC_test_{part}_phase_data"
        for path in list((folder / folder.name).iterdir()):
            path.rename(folder / path.name)
        (folder / folder.name).rmdir()
    labels = cells.PRELIMINARY.name + "_labels.csv"
    (root / "C-NMC_test_prelim_phase_data" / labels).rename(root / labels)


def as_the_archive_deeper(root):
    as_the_archive(root)
    (root / "C-NMC_training_data").rename(root / "c-nmc training data")
    moved_deeper(root)


def folds_spelt_otherwise(root):
    for number, name in enumerate(("Fold 0", "fold-1", "FOLD2")):
        (root / f"training_data/fold_{number}").rename(root / "training_data" / name)


def in_capitals(root):
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir():
            path.rename(path.with_name(path.name.upper()))


def archive_in_capitals(root):
    as_the_archive_flat(root)
    in_capitals(root)


@pytest.mark.parametrize(
    "change",
    [
        moved_deeper, twice_deeper, folds_doubled, as_the_archive, as_the_archive_flat, as_the_archive_deeper,
        in_capitals, archive_in_capitals, folds_spelt_otherwise,
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["bmp", "PNG", "jpg", "TIFF"])
def test_cnmc_is_read_however_it_was_unpacked_and_saved(tmp_path, change, suffix):
    root = cells.write(tmp_path / "data", suffix=suffix)
    plain, before = prepared(root, tmp_path / "plain")
    change(root)
    summary, after = prepared(root, tmp_path / "out")
    assert (summary["layout"], summary["patients"], summary["ignored"]) == ("c-nmc", 16, 0)
    facts = ["label", "patient", "subject", "origin", "pixel_sha256"]
    key = ["pixel_sha256"]
    labelled = [frame[frame["label"] != ""][facts].sort_values(key).to_numpy().tolist() for frame in (before, after)]
    assert labelled[0] == labelled[1]
    assert plain["classes"] == summary["classes"] == ["HEM", "ALL"]
    assert summary["positive"] == "ALL"
    assert plain["folders"] == summary["folders"], "the published folders are found whatever they are called"


@pytest.mark.parametrize("old", ["old", "old/of/2020", "C-NMC_training_data", "training_data (1)"])
def test_a_second_copy_beside_the_set_is_not_read_as_one_with_it(tmp_path, old):
    root = cells.write(tmp_path / "cnmc")
    place = old if "training" in old else f"{old}/Training_Data"
    cells.save(root / place / "fold_0/all/UID_1_77_1_all.bmp", cells.disc(77))
    with pytest.raises(UserError, match=re.escape(place) + ".* the same part of C-NMC 2019: move one away"):
        prepared(root, tmp_path / "out", max_rejected=9)


def test_a_root_that_lies_too_high_names_the_folder_to_take(tmp_path):
    cells.write(tmp_path / "a/b/cnmc")
    with pytest.raises(UserError, match="There is one below a/b/cnmc/: name that folder"):
        prepared(tmp_path, tmp_path / "out")


def test_parts_of_a_data_set_are_not_taken_for_classes(tmp_path):
    for name in ("train", "test"):
        cells.save(tmp_path / "mine" / name / "1.png", cells.disc(len(name)))
    with pytest.raises(UserError, match="test, train, which look like parts"):
        prepared(tmp_path / "mine", tmp_path / "out")
    summary, _ = prepared(tmp_path / "mine", tmp_path / "out", layout="folders", positive="test")
    assert summary["classes"] == ["test", "train"]


@pytest.mark.parametrize("inner", ["training_data", "training_data/fold_0"])
def test_pictures_of_c_nmc_without_its_folders_are_not_taken_for_pictures_of_nobody(tmp_path, inner):
    """Their patients are in their names, which the layout `folders` does not read."""
    root = cells.write(tmp_path / "cnmc")
    with pytest.raises(UserError, match=r"called as in C-NMC 2019, such as .*UID_.* folder that holds training_data/"):
        prepared(root / inner, tmp_path / "out")
    assert (
        prepared(root / "training_data/fold_0", tmp_path / "out", layout="folders", positive="all")[0]["patients"] == 0
    )


def test_a_folder_training_data_of_other_images_is_not_c_nmc(tmp_path):
    for number, name in enumerate(("ALL", "HEM")):
        cells.save(tmp_path / "mine/training_data" / name / "1.png", cells.disc(number))
    with pytest.raises(UserError, match="name the folder training_data if it holds the classes"):
        prepared(tmp_path / "mine", tmp_path / "out")
    assert prepared(tmp_path / "mine/training_data", tmp_path / "out")[0]["classes"] == ["ALL", "HEM"]


PARTS = [
    "train_images/ALL test_images/ALL", "Original/Benign Segmented/Benign Segmented/Pro", "fold_0/ALL fold_1/ALL",
    "HAM10000_images_part_1 HAM10000_images_part_2", "imagesTr imagesTs", "Training_Set Test_Set", "ALL HEM masks",
    "dataset-master dataset2-master", "ALL_IDB1/im ALL_IDB2/img", "ALL/train HEM/train", "siteA/ALL siteB/ALL",
    "P1 P2 P3", "001 002", "X_train X_test", "ALL HEM HEM_copy", "Munich/all Vienna/ALL",
    "trainset testset", "Phase-II Phase-III", "ALL ALL_GT HEM", "ALL ALL-rot90 HEM", "ALL HEM thumbnails",
    "ALL HEM stain_normalized", "ALL HEM gradcam", "ALL HEM holdout",
    "ALL HEM QuPath", "ALL HEM unsorted", "internal external", "ALL HEM Neuer_Ordner",
]  # fmt: skip


@pytest.mark.parametrize("folders", PARTS)
def test_folders_that_may_be_parts_or_patients_are_a_question_to_the_user(tmp_path, folders):
    for number, name in enumerate(folders.split()):
        cells.save(tmp_path / "mine" / name / "1.png", cells.disc(number))
    with pytest.raises(UserError, match=r"holds the folders .* if these are the classes, set data\.layout=folders"):
        prepared(tmp_path / "mine", tmp_path / "out")


@pytest.mark.parametrize("folders", ["ALL HEM", "Benign Early Pre Pro", "B-ALL T-ALL", "ALL/a HEM/b", "blast healthy"])
def test_folders_of_classes_are_no_question(tmp_path, folders):
    for number, name in enumerate(folders.split()):
        cells.save(tmp_path / "mine" / name / "1.png", cells.disc(number))
    read = layouts.read(tmp_path / "mine", "auto", folders.split()[0].split("/")[0])
    assert len({entry.label for entry in read.entries}) == len(folders.split())
    assert bool(read.warnings) == ("/" in folders)
    (tmp_path / "mine/Patients.CSV").touch()
    said = layouts.read(tmp_path / "mine", "auto", folders.split()[0].split("/")[0]).warnings
    assert said[-1] == "Tables are not read, such as Patients.CSV: only labels.csv is."


def test_copies_that_somebody_changed_or_saved_again_are_said(tmp_path):
    """Turned ones are no near copies: only their names tell."""
    found = [
        "ALL/1.png",
        "ALL/1.jpg",
        "ALL/1_rot90.png",
        "ALL/1-hflip_2.png",
        "ALL/1 (copy).png",
        "HEM/1.png",
        "HEM/rot2.png",
    ]
    for number, name in enumerate(found):
        cells.save(tmp_path / "mine" / name, cells.disc(number))
    (said,) = layouts.read(tmp_path / "mine", "auto").warnings
    assert said.startswith(
        "4 images are called like copies, changed or saved again, such as ALL/1-hflip_2.png: one cell"
    )
    rows = "".join(f"{name},p,{name[:3]}\n" for name in found)
    (tmp_path / "mine/labels.csv").write_text("file,patient,label\n" + rows)
    assert not any("called like" in sentence for sentence in layouts.read(tmp_path / "mine", "auto").warnings)


def test_only_the_other_parts_of_cnmc_are_no_classes(tmp_path):
    for number, part in enumerate(("prelim", "final")):
        cells.save(tmp_path / f"mine/C-NMC_test_{part}_phase_data/1.bmp", cells.disc(number))
    with pytest.raises(UserError, match="has no folder training_data/ with images"):
        prepared(tmp_path / "mine", tmp_path / "out")


def test_the_names_of_all_idb_are_explained(tmp_path):
    cells.save(tmp_path / "ALL_IDB2/img/Im001_1.tif", cells.disc(1))
    with pytest.raises(UserError, match=r"Im001_1 is ALL and Im001_0 healthy, which labels\.csv can say"):
        prepared(tmp_path / "ALL_IDB2", tmp_path / "out", layout="auto")


@pytest.mark.parametrize(
    "spell",
    ["{}", "{}.PNG", "mine/{}.png", "{}.bmp", "mine\\{}", "{root}/{}.png", "C:\\me\\mine\\{}.png", "/mine/to/mine/{}"],
)
def test_a_table_may_call_files_without_extension_in_other_case_or_below_the_folder(tmp_path, spell):
    rows = "".join(
        f"{spell.format(n, root=tmp_path / 'mine')},p{n},{'ALL' if n % 2 else 'HEM'}\n" for n in (1, 2, 3, 4)
    )
    summary, index = prepared(table(tmp_path / "mine", "file,patient,label\n" + rows), tmp_path / "out")
    assert index["patient"].tolist() == ["p1", "p2", "p3", "p4"]
    assert summary["warnings"][0].startswith("labels.csv calls 4 files otherwise than they are called, such as")
    cells.save(tmp_path / "mine/1.tif", cells.disc(1))
    exact = spell.endswith("}.png")
    with pytest.raises(UserError, match="1.tif: label missing" if exact else r"row for '.*1.*' without a file"):
        prepared(tmp_path / "mine", tmp_path / "out2")


def test_each_kind_of_refusal_is_shown_and_counted(tmp_path):
    images = [f"{n}.png" for n in range(30)]
    root = table(tmp_path / "mine", "file,patient,label\n" + "".join(f"x{n},p,ALL\n" for n in images), images=images)
    with pytest.raises(UserError) as caught:
        prepared(root, tmp_path / "out")
    assert "(30 x label missing in labels.csv, 30 x row for … without a file)" in str(caught.value)
    assert "labels.csv: line 2: row for 'x0.png' without a file" in str(caught.value)
    assert "0.png: label missing in labels.csv" in str(caught.value)


@pytest.mark.parametrize("links", ["classes", "pictures", "one class"])
def test_links_out_of_the_folder_are_named_before_anything_else(tmp_path, links):
    for number, name in enumerate(("ALL/1.png", "HEM/1.png", "other/1.png")):
        cells.save(tmp_path / "store" / name, cells.disc(number))
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        if links == "pictures":
            (tmp_path / "mine" / name).symlink_to(tmp_path / "store" / name)
        elif links == "one class" and number:
            cells.save(tmp_path / "mine" / name, cells.disc(number))
        else:
            (tmp_path / "mine" / name).parent.rmdir()
            (tmp_path / "mine" / name).parent.symlink_to((tmp_path / "store" / name).parent)
    with pytest.raises(UserError, match=r"what holds the images cannot be read: .*symbolic link out of the root"):
        prepared(tmp_path / "mine", tmp_path / "out", max_rejected=9)


@pytest.mark.parametrize("test", ["report", "fraction", "official"])
def test_test_rows_of_ones_own_are_tested_on_or_the_job_stops(tmp_path, monkeypatch, test):
    """In `check`, before anything is read, and in `split`, for a table that was changed since."""
    rows = [f"{n}.png,p{n // 2},{('ALL', 'HEM')[n // 2 % 2]},{'test' if n < 8 else ''}\n" for n in range(24)]
    text = "file,patient,label,split\n" + "".join(rows)
    table(tmp_path / "mine", text, images=[f"{n}.png" for n in range(24)])
    shutil.copy(ROOT / "params.yaml", tmp_path)
    data = {"root": str(tmp_path / "mine"), "pixels": 32, "near_copies": 0.0}
    settings = {"data": data, "split": {"test": test, "folds": 2}}
    edit_params(tmp_path, folds=[1, 2], **settings)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    prepare_stage.run()
    for stage in (check_stage, split_stage):
        if test == "official":
            stage.run()
        else:
            with pytest.raises(UserError, match=f"calls 8 images test ones, and split.test={test} draws others"):
                stage.run()


def test_a_question_of_the_layout_is_asked_before_anything_runs(tmp_path, monkeypatch):
    root = cells.write(tmp_path / "cnmc")
    (root / "labels.csv").write_text(ROWS)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    edit_params(tmp_path, data={"root": str(root)})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"choose with data\.layout=c-nmc or data\.layout=csv"):
        check_stage.run()


def test_two_layouts_at_once_are_a_question_to_the_user(tmp_path):
    root = cells.write(tmp_path / "cnmc")
    (root / "labels.csv").write_text("file,patient,label\n")
    with pytest.raises(UserError, match=r"both the folder training_data/ .*and the table labels\.csv"):
        prepared(root, tmp_path / "out")
    summary, _ = prepared(root, tmp_path / "out", layout="c-nmc", max_rejected=1)
    assert (summary["layout_reason"], summary["rejected"]) == ("data.layout says so", 1)


def test_class_folders_have_no_patients_and_the_job_says_so_loudly(tmp_path):
    root = three_classes.write_folders(tmp_path / "mine")
    summary, index = prepared(root, tmp_path / "out")
    assert (summary["layout"], summary["layout_reason"]) == ("folders", "it has 3 folders of images and no labels.csv")
    assert summary["classes"] == ["AML", "B-ALL", "healthy"]
    assert summary["positive"] is None
    assert summary["synthetic"]
    assert not summary["patients_known"]
    assert (summary["patients"], summary["subjects"]) == (0, 30)
    assert any("No patients are known" in sentence for sentence in summary["warnings"])
    assert (index["subject"] == index["image"]).all()
    shutil.copy(root / "AML/0.jpg", root / "AML/copy.jpg")
    _, index = prepared(root, tmp_path / "out2")
    assert index.set_index("image").loc[["AML/0.jpg", "AML/copy.jpg"], "subject"].nunique() == 1
    result, proof = split(index, split_params(test="fraction"))
    assert proof["patients"] == []
    assert result.loc[result["role"] == "test", "image"].str.split("/").str[0].value_counts().tolist() == [2, 2, 2]


def test_a_table_brings_patients_classes_and_its_own_split(mixed, tmp_path):
    summary, index = prepared(mixed, tmp_path / "out")
    assert (summary["layout"], summary["layout_reason"]) == ("csv", "it has the table labels.csv")
    assert summary["classes"] == ["AML", "B-ALL", "healthy"]
    assert summary["positive"] is None
    assert summary["patients"] == 24
    assert summary["labelled"] == 24 * 2 + 16 * 2
    assert summary["images"] == summary["labelled"] + 6
    assert index.groupby("patient")["label"].nunique().max() == 2
    result, _ = split(index, split_params(test="official", folds=2))
    test = set(index.loc[result["role"] == "test", "patient"])
    assert test == {f"P{person:02}" for person in range(6)}
    with pytest.raises(UserError, match=r"split\.test=report is Table 1 .* does not know class AML"):
        split(index, split_params())


@pytest.mark.parametrize("fold_by", ["image", "subject"])
@pytest.mark.parametrize("unlabelled", ["masked_half", "pool", "both"])
def test_subjects_of_several_classes_are_divided_as_a_whole(mixed, tmp_path, fold_by, unlabelled):
    _, index = prepared(mixed, tmp_path / "out")
    result, proof = split(
        index, split_params(test="fraction", test_share=0.25, folds=2, fold_by=fold_by, unlabelled=unlabelled)
    )
    roles = index.assign(role=result["role"], half=result["half"])
    assert (roles.groupby("subject")["role"].nunique() == 1).all()
    shares = {name: entry["reached"]["images"] / entry["of"] for name, entry in proof["target"].items()}
    assert set(shares.values()) == {0.25}
    if fold_by == "subject":
        training = roles[roles["role"] == "train"]
        assert (training.groupby("subject")["half"].nunique() == 1).all()
    assert proof["unlabelled"]["pool"] == (0 if unlabelled == "masked_half" else 6)
    assert (proof["unlabelled"]["masked"] > 0) == (unlabelled != "pool")


BAD_ROWS = {
    "no file": ("9.png,p,ALL\n", "labels.csv", "line 6: row for '9.png' without a file"),
    "climbing out": ("../1.png,p,ALL\n", "labels.csv", "line 6: row for '../1.png' without a file"),
    "absolute": (
        "/etc/passwd,p,ALL\n",
        "labels.csv",
        "line 6: row for '/etc/passwd' without a file: write it relative to",
    ),
    "absolute in Windows": (
        "C:\\x\\1.png,p,ALL\n",
        "labels.csv",
        "line 6: row for 'C:\\\\x\\\\1.png' without a file: write",
    ),
    "second row": ("1.png,p,ALL\n", "labels.csv", "line 6: 1.png has a second row"),
    "contradiction": ("1.png,p,HEM\n", "1.png", "contradiction: rows of labels.csv disagree about it"),
    "other patient": ("1.png,q,ALL\n", "1.png", "contradiction: rows of labels.csv disagree about it"),
    "no row": ("", "5.png", "label missing in labels.csv"),
    "no label": ("5.png,p,\n", "labels.csv", "line 6: label missing: fill it in, or set split to unlabelled for 5.png"),
    "no patient": ("5.png,,ALL\n", "labels.csv", "line 6: patient missing for 5.png"),
    "too many values": ("5.png,p,ALL,train,x\n", "labels.csv", "line 6: expected 3 values"),
    "control character": ('5.png,"p\x07",ALLLL\n', "labels.csv", "line 6: label or patient with control characters"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_refused_with_its_line(tmp_path, kind):
    row, file, reason = BAD_ROWS[kind]
    images = ["1.png", "2.png", "3.png", "4.png", *(["5.png"] if "5.png" in (file + row) else [])]
    root = table(tmp_path / "mine", ROWS + row, images=images)
    with pytest.raises(UserError) as caught:
        prepared(root, tmp_path / "out")
    assert f"{file}: {reason}" in str(caught.value)


def test_an_unknown_split_is_refused(tmp_path):
    root = table(
        tmp_path / "mine", "file,patient,label,split\n1.png,p,ALL,val\n2.png,q,HEM,\n3.png,p,ALL,\n4.png,r,HEM,\n"
    )
    with pytest.raises(UserError, match="line 2: unknown split 'val': expected train, test, unlabelled"):
        prepared(root, tmp_path / "out")


BAD_TABLES = {
    "semicolons": (ROWS.replace(",", ";"), "separated by semicolons"),
    "missing column": (ROWS.replace("label", "class"), "column 'label' is missing"),
    "empty": ("", "column 'file' is missing"),
    "column twice": (ROWS.replace("patient", "label,patient"), "column 'label' occurs twice"),
    "not UTF-8": (ROWS.encode().replace(b",ALL", b",\xc4"), "not UTF-8"),
    "utf-16": (ROWS.encode("utf-16"), "not UTF-8"),
    "spelt alike": (ROWS.replace("3.png,p,ALL", "3.png,p,all"), "classes 'ALL' and 'all' differ only in case"),
    "numbers": (
        ROWS.replace("ALL", "1").replace("HEM", "0").replace("3.png,p,1", "3.png,p,1.0"),
        "classes '1' and '1.0'",
    ),
    "header only": ("file,patient,label\n", "has no rows below its header"),
    "one class": (ROWS.replace(",HEM", ",ALL"), "one class only, ALL"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_bad_table_is_a_sentence(tmp_path, kind):
    text, expected = BAD_TABLES[kind]
    with pytest.raises(UserError, match=expected):
        prepared(table(tmp_path / "mine", text), tmp_path / "out")


def test_a_table_as_spreadsheets_write_it(tmp_path):
    text = b"\xef\xbb\xbf" + ROWS.replace("\n", "\r\n").replace("1.png", ".\\1.png").encode()
    summary, index = prepared(table(tmp_path / "mine", text), tmp_path / "out")
    assert summary["images"] == 4
    assert index["patient"].tolist() == ["p", "q", "p", "r"]


SPELLINGS = [
    ("7", "7.0"), ("7", "007"), ("7", "7."), ("P7", "p7"), ("P7", "P-07"), ("P7", "P 7"), ("P_7", "P7\u200b"),
    ("7", "７"), ("p 1", "p\u00a01"), ("7", "7,0"), ("7", "Patient 7"), ("P7", "7"), ("#7", "id_07"),
    ("7", "Patient #7"), ("7", "Patient No. 7"), ("P7", "PatientID7"), ("7", "patients/7"), ("7", "N° 7"), ("7", "'7"),
    ("7", "7#"), ("7", "case(7)"), ("100000", "1e+05"), ("123000", "1,23E+05"), ("7", "MRN 7"),
    ("Anna-Smith", "Anna–Smith"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_one_person_in_two_spellings_is_one_person_and_the_job_says_so(tmp_path, one, other):
    text = f'file,patient,label\n1.png,{one},ALL\n2.png,q,HEM\n3.png,"{other}",ALL\n4.png,r,HEM\n'
    summary, index = prepared(table(tmp_path / "mine", text), tmp_path / "out")
    assert summary["patients"] == 3
    assert index.set_index("image").loc[["1.png", "3.png"], "subject"].nunique() == 1
    assert any("are one person" in sentence for sentence in summary["warnings"])


def test_a_donor_is_another_person_than_the_patient_of_that_number(tmp_path):
    """The healthy controls of haematology are donors."""
    text = "file,patient,label\n1.png,Patient 1,ALL\n2.png,Donor 1,HEM\n3.png,P1,ALL\n4.png,donor-1,HEM\n"
    assert prepared(table(tmp_path / "mine", text), tmp_path / "out")[0]["patients"] == 2


@pytest.mark.parametrize("shortened", ["1.23E+11", "1,23E+11", "1E+11"])
def test_numbers_that_a_spreadsheet_has_shortened_are_said(tmp_path, shortened):
    """Patients 123456789012 and 123456789013 have one name then."""
    summary, _ = prepared(table(tmp_path / "mine", ROWS.replace(",p,", f',"{shortened}",')), tmp_path / "out")
    assert f"such as {shortened}: several persons may have one name" in summary["warnings"][0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", "H7"),
        ("1-2", "12"),
        ("1.5", "15"),
        ("7", "70"),
        ("P1", "P1a"),
        ("7.01", "7.1.0"),
        ("1", "-1"),
        ("P7", "N7"),
        ("1-2", "P12"),
        ("1.5e+00", "15"),
        ("7", "7 a"),
    ],
)
def test_other_persons_stay_apart(tmp_path, one, other):
    text = ROWS.replace(",p,", f",{one},").replace(",q,", f",{other},")
    summary, _ = prepared(table(tmp_path / "mine", text), tmp_path / "out")
    assert (summary["patients"], [s for s in summary["warnings"] if "one person" in s]) == (3, [])


@pytest.mark.parametrize(
    "gap",
    [
        "nan",
        "NaN",
        "NA",
        "N/A",
        "#N/A",
        "None",
        "null",
        "-",
        "?",
        "unknown",
        "  ",
        "\u00a0",
        "—",
        "(null)",
        "Not known",
        "#NV",
        "#WERT!",
    ],
)
def test_the_text_of_a_gap_is_neither_a_patient_nor_a_class(tmp_path, gap):
    root = table(tmp_path / "mine", ROWS.replace("3.png,p,", f"3.png,{gap},"))
    with pytest.raises(UserError, match=r"labels.csv: line 4: patient missing for 3\.png"):
        prepared(root, tmp_path / "out")
    root = table(tmp_path / "other", ROWS.replace("3.png,p,ALL", f"3.png,p,{gap}"))
    with pytest.raises(UserError, match=r"labels.csv: line 4: label missing"):
        prepared(root, tmp_path / "out")
    root = table(tmp_path / "nobody", ROWS.replace(",p,", f",{gap},").replace(",q,", ",,").replace(",r,", ",nan,"))
    assert not prepared(root, tmp_path / "out")[0]["patients_known"]


def test_a_word_for_nobody_and_one_for_no_label_are_noticed(tmp_path):
    root = table(tmp_path / "mine", ROWS.replace(",p,", ",pooled,").replace(",q,", ",pooled,"))
    assert any(
        "cells of several classes: pooled." in sentence for sentence in prepared(root, tmp_path / "a")[0]["warnings"]
    )
    root = table(tmp_path / "other", ROWS.replace("3.png,p,ALL", "3.png,p,Unlabelled"))
    with pytest.raises(UserError, match=r"line 4: label missing.*set split to unlabelled for 3\.png") as caught:
        prepared(root, tmp_path / "b")
    assert "1 files under" in str(caught.value), "the row is the mistake, and its image no second one"


def test_a_folder_named_like_a_gap_is_no_class(tmp_path):
    for name in ("ALL/1.png", "HEM/2.png", "none/3.png"):
        cells.save(tmp_path / "mine" / name, cells.disc(len(name)))
    with pytest.raises(UserError, match="class 'none': this text stands for a missing value"):
        prepared(tmp_path / "mine", tmp_path / "out")


def test_what_a_table_says_and_nothing_reads_is_said(tmp_path):
    text = "file,patient,label,age\n1.png,p,ALL,test\n2.png,q,HEM,\n3.png,p,ALL,\n4.png,r,HEM,\n"
    for column in ("age", "dataset", "part"):
        summary, _ = prepared(table(tmp_path / column, text.replace("age", column)), tmp_path / f"{column} out")
        assert summary["warnings"][0] == f"Not used of labels.csv: the columns {column}."
    text = text.replace("age", "split").replace("1.png,p,ALL,test", "1.png,p,ALL,unlabelled")
    summary, _ = prepared(table(tmp_path / "mine", text), tmp_path / "out2")
    assert summary["warnings"][0] == "Not used of labels.csv: 1 labels of rows with split unlabelled."


@pytest.mark.parametrize("column", ["Split", "set", "SUBSET", "Role"])
def test_a_column_that_means_the_parts_under_another_name_is_refused(tmp_path, column):
    """Else other images would be held out than the table says."""
    text = f"file,patient,label,{column}\n1.png,p,ALL,test\n2.png,q,HEM,\n3.png,p,ALL,\n4.png,r,HEM,\n"
    with pytest.raises(UserError, match=f"labels.csv: column '{column}' is not read: call it 'split'"):
        prepared(table(tmp_path / "mine", text), tmp_path / "out")


POSITIVE = {
    ("HEM", "ALL"): "ALL", ("ALL", "Normal"): "ALL", ("blast", "healthy"): "blast", ("0", "1"): "1",
    ("Benign", "[Malignant] Pre-B"): "[Malignant] Pre-B", ("ALL", "non-ALL"): "ALL", ("normal cells", "Pro"): "Pro",
    ("abnormal", "normal"): "abnormal", ("no blast", "blast"): "blast", ("negative", "positive"): "positive",
    ("disease-free", "relapse"): "relapse", ("leukemia_free", "MRD"): "MRD",
    ("A", "B"): None, ("AML", "ALL"): None, ("cells", "other"): None, ("healthy", "normal"): None, ("2", "1"): None,
}  # fmt: skip


@pytest.mark.parametrize("classes", POSITIVE)
def test_names_tell_the_positive_class_or_the_job_asks(classes):
    """In any order: nothing follows from the position of a folder or of a column."""
    for order in (classes, classes[::-1]):
        if POSITIVE[classes]:
            assert positive_class(order, "", "data.positive=") == POSITIVE[classes]
        else:
            with pytest.raises(UserError, match=f"choose with data.positive={order[0]} or data.positive={order[1]}"):
                positive_class(order, "", "data.positive=")


def test_the_positive_class_is_the_one_named(tmp_path):
    root = table(tmp_path / "mine", ROWS.replace("ALL", "A").replace("HEM", "B"))
    with pytest.raises(UserError, match=r"data\.positive=A or data\.positive=B"):
        prepared(root, tmp_path / "out")
    assert prepared(root, tmp_path / "out2", positive="A")[0]["positive"] == "A"
    with pytest.raises(UserError, match=r"data\.positive=C: the classes are A and B"):
        prepared(root, tmp_path / "out3", positive="C")
    three = three_classes.write_folders(tmp_path / "three", images=3)
    with pytest.raises(UserError, match="with 3 classes none"):
        prepared(three, tmp_path / "out4", positive="AML")


def test_the_pool_holds_nothing_of_a_test_subject_and_no_copy_of_a_labelled_image(tmp_path):
    people = [f"p{n}" for n in range(12)]
    images = [f"{n}.png" for n in range(24)] + ["free.png", "copy.png", "tested.png"]
    rows = [f"{n}.png,{people[n // 2]},{('ALL', 'HEM')[n // 2 % 2]},{'test' if n < 4 else ''}\n" for n in range(24)]
    rows += ["free.png,,,unlabelled\n", "copy.png,,,unlabelled\n", "tested.png,p0,,unlabelled\n"]
    root = table(tmp_path / "mine", "file,patient,label,split\n" + "".join(rows), images=images)
    cells.save(root / "copy.png", cells.disc(20))
    _, index = prepared(root, tmp_path / "out")
    result, _ = split(index, split_params(test="official", folds=2, unlabelled="pool"))
    assert result.loc[result["pool"] == 1, "image"].tolist() == ["free.png"]
    with pytest.raises(UserError, match=r"split\.unlabelled=both: the data has no unlabelled images"):
        labelled = index[index["label"] != ""]
        split(labelled, split_params(test="official", folds=2, unlabelled="both"))


def test_a_cell_strip_per_class_runs_from_small_to_large(mixed, tmp_path):
    prepared(mixed, tmp_path / "out", pixels=64)
    strips = sorted((tmp_path / "out/cells").iterdir())
    assert [path.name for path in strips] == ["0.png", "1.png", "2.png"]
    with_cells = np.asarray(cells.Image.open(strips[0]))
    assert with_cells.shape == (96, 12 * 96, 3)
    areas = [(with_cells[:, 96 * n : 96 * n + 96].max(axis=2) > 10).sum() for n in range(12)]
    assert areas[-1] > 1.2 * areas[0]
