import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from job.data import layouts
from job.data.images import UnreadableImageError, cell_box, read
from job.data.prepare import prepare
from job.data.tree import gather, walk
from job.errors import UserError
from tests import ROOT
from tests.fixtures import cells
from tests.fixtures.parameters import data


def prepared(root, out, **changes):
    out.mkdir(exist_ok=True)
    summary = prepare(data(root, **changes), out)
    index = pd.read_csv(out / "index.csv", dtype=str, keep_default_na=False)
    return summary, index, np.load(out / "images.npy")


@pytest.fixture
def root(tmp_path):
    return cells.write(tmp_path / "cnmc")


def test_every_image_has_a_row_and_its_own_pixels(root, tmp_path):
    summary, index, images = prepared(root, tmp_path / "out", pixels=40)
    assert summary["images"] == len(index) == len(images) == 14 * 3 + 4 + 2
    assert summary["patients"] == 16
    assert not summary["synthetic"]
    for row, image in zip(index["row"], index["image"], strict=True):
        with Image.open(root / image) as opened:
            assert np.array_equal(images[int(row)], np.asarray(opened)), image


def test_classes_patients_and_origins(root, tmp_path):
    _, index, _ = prepared(root, tmp_path / "out")
    by = index.set_index("image")
    assert by.loc["training_data/fold_0/hem/UID_H2_1_1_hem.bmp", ["label", "patient", "origin"]].tolist() == [
        "HEM",
        "H2",
        "fold_0",
    ]
    assert by.loc["validation_data/C-NMC_test_prelim_phase_data/1.bmp", ["label", "patient", "origin"]].tolist() == [
        "ALL", "90", "preliminary",
    ]  # fmt: skip
    assert by.loc["testing_data/C-NMC_test_final_phase_data/1.bmp", ["label", "patient", "origin"]].tolist() == [
        "",
        "",
        "final",
    ]


def test_a_lower_case_patient_is_the_same_patient(root, tmp_path):
    cells.save(root / "training_data/fold_0/hem/UID_h2_9_1_hem.bmp", cells.disc(77))
    summary, index, _ = prepared(root, tmp_path / "out")
    assert summary["patients"] == 16
    assert (index["patient"] == "H2").sum() == 4


def test_copies_link_patients_into_one_subject_across_formats(root, tmp_path):
    """A copy saved as PNG has another file hash and the same pixels."""
    picture = cells.disc(500)
    cells.save(root / "training_data/fold_0/all/UID_1_8_1_all.bmp", picture)
    cells.save(root / "training_data/fold_1/all/UID_5_8_1_all.png", picture)
    cells.save(root / "training_data/fold_2/all/UID_5_9_1_all.bmp", cells.disc(501))
    cells.save(root / "training_data/fold_2/all/UID_7_9_1_all.bmp", cells.disc(501))
    summary, index, _ = prepared(root, tmp_path / "out")
    assert summary["copies"] == {"groups": 2, "images": 4, "across_patients": 2, "linked_patients": [["1", "5", "7"]]}
    assert set(index.loc[index["patient"].isin(["1", "5", "7"]), "subject"]) == {"1+5+7"}
    assert summary["subjects"] == summary["patients"] - 2


def test_a_copy_at_another_place_or_on_a_larger_canvas_is_a_copy(root, tmp_path):
    """Networks see the crop around the cell: such a copy is the same to them."""
    picture = cells.disc(500)
    shifted = Image.new("RGB", (90, 60))
    shifted.paste(picture, (41, 3))
    cells.save(root / "training_data/fold_0/all/UID_1_8_1_all.bmp", picture)
    cells.save(root / "training_data/fold_1/all/UID_5_8_1_all.bmp", shifted)
    brighter = np.asarray(picture).copy()
    brighter[20, 20] ^= 1
    cells.save(root / "training_data/fold_1/all/UID_6_8_1_all.bmp", Image.fromarray(brighter))
    summary, _, _ = prepared(root, tmp_path / "out")
    assert summary["copies"]["linked_patients"] == [["1", "5"]]


@pytest.mark.parametrize("place", ["", "training_data/fold_0", ".."])
def test_synthetic_cells_are_called_so_wherever_below_or_above_the_mark_the_root_is(root, tmp_path, place):
    (root / place / "SYNTHETIC.txt").write_text("synthetic")
    assert prepared(root, tmp_path / "out", max_rejected=1)[0]["synthetic"]


def test_system_litter_is_ignored_and_counted(root, tmp_path):
    for name in ("._UID_1_1_1_all.bmp", ".DS_Store", "Thumbs.db"):
        (root / "training_data/fold_0/all" / name).write_bytes(b"litter")
    summary, _, _ = prepared(root, tmp_path / "out")
    assert (summary["ignored"], summary["rejected"]) == (3, 0)


LITTER = [
    "1.bmp:Zone.Identifier", "1.bmp\uf03aZone.Identifier", ".gitignore", "x.bmp.dvc", ".~lock.labels.csv#",
    "labels.csv~", "~$labels.xlsx", "#labels.csv#", "labels.csv.bak", "a.swp", ".ipynb_checkpoints/1-checkpoint.bmp",
    ".Trash-1000/1.bmp", "__MACOSX/._1.bmp", "@eaDir/1.bmp", "$RECYCLE.BIN/1.bmp", "System Volume Information/1.bmp",
    "#recycle/1.bmp", "lost+found/1.bmp", ".git/1.bmp", "ehthumbs.db", "DESKTOP.INI", "Icon\r", "__pycache__/1.pyc",
    "README", "LICENSE", "README.md", "notes.txt", "ALL/1.xml", "ALL/1.json", "HEM/cells.csv", "MyExpt_Image.CSV",
    "project.qpproj", "1.geojson", "x.cpproj", "1.roi", "data.yaml", "patients.xlsx", "a.pdf", "md5sums",
]  # fmt: skip


def test_litter_of_every_kind_is_no_data_for_any_reader(tmp_path):
    for number, name in enumerate(["ALL/1.bmp", "ALL/2.bmp", "HEM/1.bmp", "HEM/2.bmp", *LITTER]):
        cells.save(tmp_path / "in" / "x.bmp", cells.disc(number))
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "x.bmp").rename(tmp_path / "mine" / name)
    summary, index, _ = prepared(tmp_path / "mine", tmp_path / "out")
    assert (summary["classes"], len(index), summary["rejected"]) == (["ALL", "HEM"], 4, 0)
    assert summary["ignored"] == len(LITTER)
    files, left_out = gather([tmp_path / "mine"])
    assert [file.relative_to(tmp_path / "mine").as_posix() for file in files] == index["image"].tolist()
    assert len(left_out) == len(LITTER)


def test_what_an_ignore_file_of_dvc_names_is_not_read_unseen(root, tmp_path):
    """DVC would leave the named files out of the stage's dependency: a picture replaced there would change nothing."""
    (root / ".dvcignore").write_text("# only a comment\n\n")
    assert prepared(root, tmp_path / "out")[0]["ignored"] == 1
    (root / ".dvcignore").write_text("fold_1\n")
    with pytest.raises(UserError, match=r"\.dvcignore: DVC would not see changes"):
        prepared(root, tmp_path / "out")


def test_no_pattern_of_this_repository_hides_a_folder_of_images(tmp_path):
    lines = (ROOT / ".dvcignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#") and "/" not in line]
    for pattern in patterns:
        (tmp_path / pattern.replace("*", "x")).touch()
    tree = walk(tmp_path)
    assert len(tree.ignored) == len(patterns)


def truncated(path):
    path.write_bytes(path.read_bytes()[:400])


BAD = {
    "training_data/fold_0/all/UID_1_1_1_all.bmp": (truncated, "truncated"),
    "training_data/fold_0/all/UID_2_1_1_all.bmp": (lambda path: path.write_bytes(b""), "empty file"),
    "training_data/fold_0/all/UID_3_1_1_all.bmp": (lambda path: path.write_text("hello"), "not an image"),
    "training_data/fold_0/all/cell.bmp": (lambda path: cells.save(path, cells.disc(9)), "unknown name"),
    "training_data/fold_0/all/UID_H9_1_1_hem.bmp": (
        lambda path: cells.save(path, cells.disc(9)),
        "contradiction: folder says ALL",
    ),
    "training_data/fold_0/blast/UID_9_1_1_all.bmp": (lambda path: cells.save(path, cells.disc(9)), "unknown folder"),
    "training_data/fold_0/all/1.gif": (lambda path: path.write_text("x"), "not an image by its extension"),
    "validation_data/C-NMC_test_prelim_phase_data/9.bmp": (
        lambda path: cells.save(path, cells.disc(9)),
        "label missing",
    ),
    "extra/1.bmp": (lambda path: cells.save(path, cells.disc(9)), "unknown folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_stops_the_job_with_its_name_and_the_remedy(root, tmp_path, name):
    damage, reason = BAD[name]
    damage(root / name)
    with pytest.raises(UserError) as caught:
        prepared(root, tmp_path / "out")
    assert f"{name}: {reason}" in str(caught.value)
    assert "data.max_rejected=1" in str(caught.value)


def test_accepted_refusals_are_listed_and_leave_no_gap(root, tmp_path):
    name = "training_data/fold_0/all/UID_1_1_1_all.bmp"
    truncated(root / name)
    summary, index, images = prepared(root, tmp_path / "out", max_rejected=1, pixels=40)
    assert summary["rejected"] == 1
    assert pd.read_csv(tmp_path / "out/rejected.csv").to_numpy().tolist() == [[name, "truncated"]]
    assert name not in set(index["image"])
    assert index["row"].astype(int).tolist() == list(range(len(images)))
    with Image.open(root / index["image"].iloc[-1]) as opened:
        assert np.array_equal(images[-1], np.asarray(opened))


def test_copies_with_both_labels_are_refused(root, tmp_path):
    cells.save(root / "training_data/fold_0/all/UID_1_8_1_all.bmp", cells.disc(500))
    cells.save(root / "training_data/fold_0/hem/UID_H1_8_1_hem.bmp", cells.disc(500))
    with pytest.raises(UserError, match="contradiction: identical pixels are labelled ALL and HEM"):
        prepared(root, tmp_path / "out")
    summary, index, _ = prepared(root, tmp_path / "out", max_rejected=2)
    assert summary["rejected"] == 2
    assert not index["image"].str.contains("UID_H?1_8_1_").any()


def test_a_row_of_the_label_file_without_a_file(root, tmp_path):
    (root / cells.PRELIMINARY / "3.bmp").unlink()
    with pytest.raises(UserError, match="row for image 3 without a file"):
        prepared(root, tmp_path / "out")


def test_a_label_file_with_byte_order_mark_and_windows_lines(root, tmp_path):
    path = root / f"{cells.PRELIMINARY}_labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert prepared(root, tmp_path / "out")[0]["patients"] == 16


def test_a_patient_with_both_labels_is_an_error(root, tmp_path):
    cells.save(root / "training_data/fold_0/hem/UID_1_8_1_hem.bmp", cells.disc(500))
    with pytest.raises(UserError, match="patient 1 has images of both"):
        prepared(root, tmp_path / "out")


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist.*Kaggle"):
        layouts.read(tmp_path / "nowhere", "auto")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no images\. Expected training_data/"):
        layouts.read(tmp_path / "empty", "auto")


def test_an_empty_class_is_an_error(root, tmp_path):
    for path in root.glob("training_data/*/hem"):
        shutil.rmtree(path)
    cells.write_labels(root, [(f"UID_90_{n}_1_all.bmp", f"{n}.bmp", 1) for n in (1, 2, 3, 4)])
    with pytest.raises(UserError, match="class HEM has no images"):
        prepared(root, tmp_path / "out")


def test_the_crop_follows_the_cell_and_grows_for_a_large_one(tmp_path):
    canvas = Image.new("RGB", (100, 100))
    canvas.paste(cells.disc(1, side=30, radius=9), (60, 50))
    canvas.save(tmp_path / "cell.png")
    x, y, w, h = cell_box(canvas)
    assert (x, y) >= (60, 50)
    assert (x + w, y + h) <= (90, 80)
    pixels, facts = read(tmp_path / "cell.png", 40, 40, "cell")
    assert not facts.scaled_in
    centred = cell_box(Image.fromarray(pixels))
    assert centred[0] + centred[2] / 2 == pytest.approx(20, abs=1)
    assert centred[1] + centred[3] / 2 == pytest.approx(20, abs=1)
    assert (centred[2], centred[3]) == (w, h)
    assert read(tmp_path / "cell.png", 40, 40, "image")[1].scaled_in
    pixels, facts = read(tmp_path / "cell.png", 12, 12, "cell")
    assert facts.scaled_in
    assert cell_box(Image.fromarray(pixels))[2] >= 11


def test_pictures_that_show_no_single_cell_on_black_are_said(root, tmp_path):
    assert not any("several bodies" in sentence for sentence in prepared(root, tmp_path / "before")[0]["warnings"])
    field, light = Image.new("RGB", (200, 200)), Image.new("RGB", (80, 80), "#eee")
    for number in range(4):
        field.paste(cells.disc(number), (20 + 100 * (number % 2), 20 + 100 * (number // 2)))
    light.paste(cells.disc(7), (10, 20))
    pair = Image.new("RGB", (200, 200))
    pair.paste(field.crop((0, 0, 200, 100)))
    for number, image in enumerate((field, light, pair)):
        image.save(root / f"training_data/fold_0/all/UID_1_{90 + number}_1_all.bmp")
    (sentence,) = [one for one in prepared(root, tmp_path / "out")[0]["warnings"] if "several bodies" in one]
    assert sentence.startswith("2 pictures show")
    assert "such as training_data/fold_0/all/UID_1_90_1_all.bmp" in sentence, (
        "the words that report.pseudonyms looks for"
    )


def test_grey_comes_out_as_colour_and_transparency_is_refused(tmp_path):
    cells.disc(1).convert("L").save(tmp_path / "grey.png")
    pixels, facts = read(tmp_path / "grey.png", 40, 0, "cell")
    assert facts.mode == "L"
    assert np.array_equal(pixels[..., 0], pixels[..., 2])
    alpha = cells.disc(1).convert("RGBA")
    alpha.save(tmp_path / "opaque.png")
    assert np.array_equal(read(tmp_path / "opaque.png", 40, 0, "cell")[0], np.asarray(cells.disc(1)))
    alpha.putpixel((0, 0), (9, 9, 9, 0))
    alpha.save(tmp_path / "alpha.png")
    with pytest.raises(UnreadableImageError, match="transparent pixels"):
        read(tmp_path / "alpha.png", 40, 0, "cell")
