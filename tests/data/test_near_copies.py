"""The same cell cropped elsewhere or compressed again is found; another cell is not."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from job.data import near_copies
from job.data.prepare import prepare
from job.demo import cells
from job.seeds import generator
from tests.fixtures.parameters import data


def cell(number: int, patient: int = 0) -> Image.Image:
    rng = generator(0, "near copies", number)
    return Image.fromarray(cells.draw(cells.sample("all", generator(0, "near copies", "patient", patient), rng), rng))


def view(image: Image.Image) -> near_copies.View:
    return near_copies.view(image.convert("L"), 1)


def shifted(image: Image.Image, x: int, y: int) -> Image.Image:
    moved = Image.new("RGB", image.size)
    moved.paste(image, (x, y))
    return moved


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize(
    "copy",
    [
        lambda image: shifted(image, 5, -7),
        lambda image: as_jpeg(image, 75),
        lambda image: as_jpeg(shifted(image, -3, 4), 90),
        lambda image: image.point(lambda value: min(255, int(1.1 * value))),
        lambda image: Image.composite(image, Image.new("RGB", image.size), _without_a_corner(image)),
    ],
    ids=["moved", "compressed", "moved and compressed", "brighter", "cut differently"],
)
def test_a_near_copy_agrees_with_its_original(copy):
    original = cell(1)
    overlap, agreement = near_copies.compare(view(original), view(copy(original)))
    assert overlap > near_copies.LEAST_OVERLAP
    assert agreement > 0.75


def _without_a_corner(image: Image.Image) -> Image.Image:
    mask = np.full(image.size[::-1], 255, dtype=np.uint8)
    left, top, right, bottom = image.getbbox()
    mask[top : top + (bottom - top) // 6, left:right] = 0
    return Image.fromarray(mask)


def test_different_cells_of_one_patient_never_agree():
    views = [view(cell(number)) for number in range(12)]
    agreements = [near_copies.compare(one, other)[1] for one, other in itertools.combinations(views, 2)]
    assert max(agreements) < 0.5


def test_pairs_are_found_among_many_and_blank_pictures_link_nobody(tmp_path):
    pictures = [cell(number) for number in range(8)]
    pictures += [shifted(pictures[2], 4, 4), Image.new("RGB", (450, 450)), Image.new("RGB", (450, 450)),
                 Image.new("RGB", (450, 450), "white"), Image.new("RGB", (450, 450), "white")]  # fmt: skip
    paths = [tmp_path / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    pairs = near_copies.find(paths, bar=0.7, cell=223)
    assert [(pair.one, pair.other) for pair in pairs] == [(2, 8)]


@pytest.mark.parametrize(("side", "least"), [(64, 7), (96, 9), (150, 9), (225, 9)])
def test_copies_of_small_pictures_are_found_and_different_cells_are_not(tmp_path, side, least):
    """A cell of 50 pixels has too few inside the rim of one of 223."""
    small = [cell(number).resize((side, side), Image.Resampling.LANCZOS) for number in range(10)]
    pictures = small + [as_jpeg(shifted(picture, 1, -2), 92) for picture in small]
    paths = [tmp_path / f"{number:02}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    pairs = near_copies.find(paths, bar=0.7, cell=side / 2)
    assert {(pair.one, pair.other) for pair in pairs} <= {(number, number + 10) for number in range(10)}
    assert len(pairs) >= least


def test_a_near_copy_links_its_patients_and_is_shown(tmp_path):
    root = tmp_path / "root"
    pictures = {
        "all/UID_1_1_1_all": cell(1),
        "all/UID_2_1_1_all": as_jpeg(shifted(cell(1), 5, 3), 90),
        "all/UID_3_1_1_all": cell(2),
    }
    for name, picture in (pictures | {"hem/UID_H1_1_1_hem": cell(3)}).items():
        path = root / "training_data/fold_0" / f"{name}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    for bar, subjects in ((0.7, ["1+2", "1+2", "3", "H1"]), (0.0, ["1", "2", "3", "H1"])):
        out = tmp_path / str(bar)
        out.mkdir()
        summary = prepare(data(root, near_copies=bar), out)
        index = pd.read_csv(out / "index.csv")
        assert index["subject"].tolist() == subjects
        assert index["cell"].nunique() == len(set(subjects))
        assert summary["near_copies"]["pairs"] == len(summary["near_copies"]["links"]) == (1 if bar else 0)
        assert [sorted(link["rows"]) for link in summary["near_copies"]["links"]] == ([[0, 1]] if bar else [])


def test_near_copies_of_two_classes_are_said(tmp_path):
    root = tmp_path / "root"
    near_copy = as_jpeg(shifted(cell(1), 5, 3), 90)
    for name, picture in {"all/UID_1_1_1_all": cell(1), "hem/UID_H1_1_1_hem": near_copy}.items():
        path = root / "training_data/fold_0" / f"{name}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    (tmp_path / "out").mkdir()
    summary = prepare(data(root, near_copies=0.7), tmp_path / "out")
    assert any("1 near copies have labels of two classes" in warning for warning in summary["warnings"])
