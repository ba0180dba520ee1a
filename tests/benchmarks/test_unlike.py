"""`python -m benchmarks.unlike` on synthetic cells, without networks: simple facts alone mark what is no cell."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from benchmarks import unlike, workspace
from benchmarks.changes import seen
from job.demo import cells
from job.ensemble.scoring import Manifest
from job.errors import UserError
from job.inference import appearance
from job.seeds import generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a finished run leaves of its split, beside 40 synthetic cells, of which ten are the test set."""
    root = tmp_path_factory.mktemp("unlike")
    for number in range(40):
        rng = generator(0, "unlike", number)
        Image.fromarray(cells.draw(cells.sample(("all", "hem")[number % 2], rng, rng), rng)).save(
            root / f"{number}.png"
        )
    roles = ["test"] * 10 + ["train"] * 30
    (root / "data").mkdir()
    pd.DataFrame({"image": [f"{number}.png" for number in range(40)], "role": roles}).to_csv(root / "data/split.csv")
    return root


@pytest.fixture
def ensemble(folder):
    """An ensemble that finds no features strange, with the ranges of all cells."""
    manifest = Manifest("linear_probe", [1], ["HEM", "ALL"], 64, 320, "cell")
    pixels = np.stack([seen(Image.open(path), manifest) for path in sorted(folder.glob("*.png"))])
    manifest = Manifest("linear_probe", [1], ["HEM", "ALL"], 64, 320, "cell", likeness=appearance.ranges(pixels))
    judge = lambda batch: (np.full((1, len(batch), 2), 0.5), np.zeros((1, len(batch))))  # noqa: E731
    return SimpleNamespace(manifest=manifest, most_pixels=400_000, judge=judge)


def test_what_is_no_cell_on_black_is_marked_and_cells_are_not(folder, ensemble, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(unlike, "CHANGED", 3)
    monkeypatch.setattr(unlike, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(unlike.workspace, "train", lambda *_: None)
    monkeypatch.setattr(unlike, "TorchEnsemble", lambda _: ensemble)
    monkeypatch.setattr("sys.argv", ["unlike", "--root", str(folder), "--folder", str(folder)])
    assert unlike.main() == 0
    table = pd.read_csv(tmp_path / "table.csv").set_index("pictures")
    assert table["number"].tolist() == [10] + [3] * (len(table) - 1)
    assert not table["by features"].any()
    cells_as_they_are = ["test cells of unseen patients", "synthetic cells of demo"]
    assert table.loc[cells_as_they_are[0], "marked"] == 0
    never = ["inverted", "on a light background", "among red cells", "twelve cells on black",
             "twelve cells on a light background", "photographs", "plain squares"]  # fmt: skip
    assert table.loc[never, "marked"].tolist() == [1] * len(never)
    assert "| inverted | 3 | 1.000 |" in capsys.readouterr().out


def test_changed_cells_stay_pictures_of_one_size(folder):
    cell = Image.open(folder / "0.png")
    for name, change in unlike.CHANGES.items():
        changed = change(cell)
        assert (changed.mode, changed.size) == ("RGB", cell.size), name
        assert (np.asarray(changed) != np.asarray(cell)).any(), name


def test_the_stages_run_in_their_order_in_a_folder_with_the_asked_parameters(tmp_path, monkeypatch):
    ran = []

    def run(command, *, returncode=0, **_options):
        ran.append(" ".join(command[4:]))
        return SimpleNamespace(returncode=returncode)

    monkeypatch.setattr(subprocess, "run", run)
    settings = {"methods": ["linear_probe"], "folds": [1, 2], "data.pixels": 48}
    workspace.train(tmp_path, settings)
    assert [stage.split()[0] for stage in ran] == [
        "prepare",
        "split",
        *["train", "predict"] * 2,
        "ensemble",
        "evaluate",
    ]
    assert ran[4] == "train --method linear_probe --fold 2"
    written = YAML(typ="safe").load(tmp_path / "params.yaml")
    assert (written["folds"], written["data"]["pixels"]) == ([1, 2], 48)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: run([""] * 5, returncode=2))
    with pytest.raises(UserError, match="stage prepare failed"):
        workspace.train(tmp_path, settings)
