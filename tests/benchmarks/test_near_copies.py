"""A small part of `python -m benchmarks.near_copies`, whose table is in the documents."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageChops, ImageFilter
from scipy.ndimage import gaussian_filter

from benchmarks import near_copies as benchmark
from job.data import near_copies
from job.demo import cells
from job.seeds import generator

LABELS = {"1": "all", "2": "all", "H1": "hem", "H2": "hem"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three cells of each of four patients, and two cells like one of patient 1's.

    Patient 2's is the same cell, shifted and brighter; patient H1's has its outline and shades, and another structure.
    """
    root = tmp_path_factory.mktemp("cells")
    for patient, label in LABELS.items():
        person = generator(0, "false links", patient)
        for number in range(3):
            rng = generator(0, "false links", patient, number)
            save(root, patient, number, Image.fromarray(cells.draw(cells.sample(label, person, rng), rng)))
    original = Image.open(root / "training_data/fold_0/all/UID_1_1_1_all.bmp")
    save(root, "2", 9, ImageChops.offset(original.point(lambda value: min(255, int(1.05 * value))), 3, -4))
    save(root, "H1", 9, alike(original))
    return root


def alike(image):
    """Another cell of the same outline and shades: its fine structure is noise."""
    grain = gaussian_filter(generator(0, "false links", "grain").normal(0, 1, (*image.size, 1)), (2, 2, 0))
    other = np.asarray(image.filter(ImageFilter.GaussianBlur(6))) + 6 * grain / grain.std()
    inside = other.mean(axis=2, keepdims=True) > 40
    return Image.fromarray(np.where(inside, other, np.asarray(image)).clip(0, 255).astype(np.uint8))


def save(root, patient, number, image):
    path = root / f"training_data/fold_0/{LABELS[patient]}/UID_{patient}_{number}_1_{LABELS[patient]}.bmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def test_different_cells_link_nobody_unless_the_bar_says_nothing(root):
    paths = [path for path in sorted(root.rglob("*.bmp")) if "UID_2_9" not in path.name]
    assert near_copies.find(paths, bar=0.5, cell=223) == []
    assert len(near_copies.find(paths, bar=-1.0, cell=223)) == 1


def test_the_table_counts_links_and_false_ones(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "BARS", (-1.0, 0.7))
    monkeypatch.setattr(benchmark, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr("sys.argv", ["near_copies", "--root", str(root)])
    assert benchmark.main() == 0
    nonsense, usual = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    false = [name for name in usual if name.startswith("of ")]
    assert (usual["near copies"], usual["pairs of patients linked"], usual["subjects"]) == (1, 1, 3)
    assert [usual[name] for name in false] == [0, 0]
    assert min(nonsense[name] for name in false) > 0
    assert "14 images of 4 patients" in capsys.readouterr().out


def test_a_folder_without_the_data_is_an_error_of_the_user(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["near_copies", "--root", str(tmp_path)])
    assert benchmark.main() == 2
    assert "error: " in capsys.readouterr().err
