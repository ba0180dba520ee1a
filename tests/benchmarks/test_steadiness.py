"""`python -m benchmarks.steadiness` on a small finished run: real networks, cells of two sizes."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import save

from benchmarks import changes, steadiness
from job.contracts.dataset import Dataset
from job.data import images
from job.ensemble.scoring import Manifest
from job.models.network import build
from tests import ROOT
from tests.fixtures.cells import disc

CLASSES = ["HEM", "ALL"]
DATASET = Dataset("", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
SIZE, FOLDS = 32, (1, 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two random networks, 36 test cells of six patients and 12 validation cells, as the pipeline leaves them."""
    root = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(48):
        label, role = CLASSES[number % 2], "test" if number < 36 else "train"
        path = root / f"cells/{number}.png"
        path.parent.mkdir(exist_ok=True)
        cell = disc(number, side=80, radius=12 + number % 7 + 4 * (number % 2))
        cell.point(lambda level, dark=number % 2: level * (0.8 if dark else 1)).save(path)
        rows.append({"image": f"{number}.png", "patient": f"{label[0]}{number % 6}", "label": label, "role": role,
                     "fold": pd.NA if role == "test" else number % 2 + 1})  # fmt: skip
    table = pd.DataFrame(rows).assign(subject=lambda table: table["patient"])
    write(root / "data/split.csv", table)
    test = table[table["role"] == "test"]
    parts = []
    models = {"fold-1": "fold", "fold-2": "fold", "majority": "ensemble", "mean": "ensemble", "out_of_fold": ""}
    for model, kind in models.items():
        of = test if kind else table[table["role"] == "train"].assign(role="validation")
        p = np.where(of["label"] == "ALL", 0.7, 0.3) + rng.normal(0, 0.2, len(of))
        p = p.clip(0.01, 0.99)
        parts.append(of.assign(model=f"efficientnet/{model}", method="efficientnet", kind=kind, p_HEM=1 - p, p_ALL=p,
                                 predicted=np.where(p > 0.5, "ALL", "HEM")))  # fmt: skip
    write(root / "results/predictions.csv", pd.concat(parts))
    members = []
    for fold in FOLDS:
        network = build("torchvision/resnet18", classes=2, size=SIZE, dropout=0.0, stochastic_depth=0.0, seed=fold)
        weights = save({name: value.contiguous() for name, value in network.state_dict().items()})
        folder = root / f"runs/efficientnet/fold-{fold}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "model.json").write_text(json.dumps({
            "backbones": ["torchvision/resnet18"], "classes": CLASSES, "size": SIZE, "crop": 60, "center": "cell",
            "threads": 1,
        }))  # fmt: skip
        members.append({"fold": fold, "weights_sha256": hashlib.sha256(weights).hexdigest()})
    described = {"method": "efficientnet", "classes": CLASSES, "members": members, "views": 1}
    write(root / "ensembles/efficientnet/ensemble.json", described)
    return root


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content) if isinstance(content, dict) else content.to_csv(index=False)
    path.write_text(text)


def command(run, out, monkeypatch, *more):
    folder = str(run / "ensembles/efficientnet")
    monkeypatch.setattr("sys.argv", ["steadiness", folder, "--root", str(run / "cells"), "--out", str(out), *more])
    return steadiness.main()


def test_the_tables_of_a_finished_run(run, tmp_path, monkeypatch, capsys):
    originals = tmp_path / "originals"
    originals.mkdir()
    for number in (2, 40, 41):  # a test cell, and one that either fold validates
        Image.open(run / f"cells/{number}.png").save(originals / f"{number}.bmp")
    out = tmp_path / "tables"
    assert command(run, out, monkeypatch, "--originals", str(originals), "--cells", "12") == 0
    names = ("size", "size_out_of_fold", "light", "patients", "errors", "changes")
    size, held_in, light, patients, errors, table = (pd.read_csv(out / f"{name}.csv") for name in names)
    assert held_in.loc[0, ["ALL", "HEM"]].tolist() == [6, 6]
    assert size["cells"].tolist()[0] == "all"
    assert len(size) == 2 + steadiness.FIFTHS + 1
    assert size["of size"].iloc[0] > 0.8, "cells of the positive class are larger"
    assert size["of size"].iloc[-1] == pytest.approx(0.5, abs=0.15), "pairs of equal size"
    assert light["of light"].iloc[0] < 0.2, "cells of the positive class are darker"
    assert patients["cells"].sum() == 36
    assert patients["called_right"].is_monotonic_increasing
    assert errors["label"].tolist() == ["ALL", "HEM", "all"]
    changed = table.set_index("change")
    assert changed.index.tolist() == [*changes.CHANGES, "the original file"]
    assert set(changed["cells"][:-1]) == {12}
    assert changed.loc["the original file", ["cells", "calls that flip", "mean difference of p"]].tolist() == [3, 0, 0]
    assert changed["mean difference of p"][:-1].min() > 0
    assert str(out / "changes.csv") in capsys.readouterr().out


def test_originals_that_every_fold_learned_from_are_an_error(run, tmp_path, monkeypatch, capsys):
    split = pd.read_csv(run / "data/split.csv").assign(role="unlabelled")
    with monkeypatch.context() as patch:
        patch.setattr(steadiness.pd, "read_csv", reading(split))
        (tmp_path / "a").mkdir()
        Image.open(run / "cells/2.png").save(tmp_path / "a/2.bmp")
        assert command(run, tmp_path, patch, "--originals", str(tmp_path / "a"), "--cells", "2") == 2
    assert "--originals" in capsys.readouterr().err


def reading(split):
    original = pd.read_csv
    return lambda path, **options: split if str(path).endswith("split.csv") else original(path, **options)


def test_unchanged_pictures_are_what_the_networks_saw(run):
    manifest = Manifest("efficientnet", [1], CLASSES, SIZE, 60, "cell")
    for number in range(4):
        path = run / f"cells/{number}.png"
        expected = images.read(path, SIZE, 60, "cell")[0]
        assert (changes.seen(Image.open(path).convert("RGB"), manifest) == expected).all()
        assert (changes.seen(Image.open(path).convert("RGB"), manifest, 2) != expected).any()


def test_folds_that_err_alone_share_as_many_errors_as_chance_gives():
    rng = np.random.default_rng(1)
    cells = pd.DataFrame({"image": range(8000), "label": np.repeat(CLASSES, 4000)})
    hard = rng.random(8000) < 0.1

    def folds(shared):
        parts = []
        for fold in (1, 2, 3):
            wrong = hard if shared else rng.random(8000) < np.where(cells["label"] == "ALL", 0.1, 0.4)
            predicted = np.where(wrong, np.where(cells["label"] == "ALL", "HEM", "ALL"), cells["label"])
            parts.append(cells.assign(model=f"fold-{fold}", kind="fold", role="test", predicted=predicted))
        return steadiness.Run(ROOT, "any", DATASET, pd.concat(parts))

    alone, together = (steadiness.errors(folds(shared)).set_index("label").loc["all"] for shared in (False, True))
    assert alone["wrong in every fold"] == pytest.approx(alone["if independent"], abs=0.005)
    assert together["of these in every fold"] == 1
    assert together["wrong in every fold"] > 50 * together["if independent"]


def test_a_folder_without_results_is_an_error_of_the_user(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["steadiness", str(tmp_path), "--root", str(tmp_path)])
    assert steadiness.main() == 2
    assert "error: " in capsys.readouterr().err
