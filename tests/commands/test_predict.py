import csv
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file

from job.__main__ import main
from job.data.tree import gather
from job.ensemble import scoring
from job.ensemble.networks import TorchEnsemble
from job.inference import appearance
from job.inference.activation import grad_cam
from job.models.network import build, normalisation
from job.reporting.cells import overlay
from tests import ROOT
from tests.fixtures.cells import disc
from tests.fixtures.cells import save as save_image
from tests.pipeline import repository

CLASSES = ("HEM", "<ALL>, 2")
SIZE = 64


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three random networks as an ensemble, ten prepared images, and their files.

    Of all backbones a ResNet-18 is exported the quickest; `test_predict_official` exports EfficientNets.
    """
    root = tmp_path_factory.mktemp("trained")
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for number in range(10):
        save_image(root / f"cells/{'ab'[number % 2]}/{number}.png", disc(number))
    (root / "data/prepared").mkdir(parents=True)
    pixels = np.stack([scoring.images.read(path, SIZE, 30, "cell")[0] for path in gather([root / "cells"])[0]])
    np.save(root / "data/prepared/images.npy", pixels)
    backbone = "torchvision/resnet18"
    mean, std = normalisation(backbone)
    members = []
    for fold in (1, 3, 4):
        network = build(backbone, classes=2, size=SIZE, dropout=0.0, stochastic_depth=0.0, seed=fold).eval()
        spread_out(network, (pixels / 255 - mean) / std)
        weights = save({name: value.contiguous() for name, value in network.state_dict().items()})
        run = root / f"runs/efficientnet/fold-{fold}"
        run.mkdir(parents=True)
        (run / "model.safetensors").write_bytes(weights)
        facts = {
            "backbones": [backbone], "classes": CLASSES, "size": SIZE, "threads": 1, "crop": 30,
            "center": "cell", "likeness": appearance.ranges(pixels),
        }  # fmt: skip
        (run / "model.json").write_text(json.dumps(facts))
        write_distance(run, usual=1e3)
        members.append({"fold": fold, "weights_sha256": hashlib.sha256(weights).hexdigest()})
    (root / "runs/two").symlink_to("efficientnet")
    for method, chosen in (("efficientnet", members), ("two", members[1:])):
        described = {"method": method, "classes": CLASSES, "members": chosen, "rule": "majority", "views": 1}
        described["temperature"] = 0.1
        (root / "ensembles" / method).mkdir(parents=True)
        (root / "ensembles" / method / "ensemble.json").write_text(json.dumps(described))
    return root


def write_distance(run, usual):
    """The plain distance from 0 of a ResNet's features, in multiples of `usual`."""
    tensors = {"mean": torch.zeros(512), "axes": torch.zeros(512, 1), "variance": torch.ones(1)}
    save_file(tensors | {"noise": torch.tensor(1.0), "usual": torch.tensor(usual)}, run / "likeness.safetensors")


@torch.no_grad()
def spread_out(network, images):
    """Change the last layer so that the classes are even and the images apart."""
    mean = network(torch.from_numpy(images).permute(0, 3, 1, 2).float()).mean(0)
    last = network.fc[-1]
    last.bias.copy_(30 * (last.bias - mean))
    last.weight.mul_(30)


@pytest.fixture(scope="module")
def exported(trained):
    """Two of the networks as an ONNX file; the exporter of torch takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        evaluation(trained, "two", threshold=0.9)
        assert main(["export", "--model", "two", "--out", "two.onnx"]) == 0
        shutil.rmtree("results")
    return trained / "two.onnx"


@pytest.fixture
def here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def predict(out, *arguments):
    assert main(["predict", *map(str, arguments), "--out", str(out)]) == 0
    with out.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_one_row_per_image_with_members_mean_votes_and_call(here, tmp_path, capsys):
    rows = predict(tmp_path / "scores.csv", "cells")
    assert [row["image"] for row in rows] == sorted(path.as_posix() for path in Path("cells").rglob("*.png"))
    for row in rows:
        members = np.array([[float(row[f"fold_{fold}_p_{name}"]) for name in CLASSES] for fold in (1, 3, 4)])
        np.testing.assert_allclose(members.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose([float(row[f"p_{name}"]) for name in CLASSES], members.mean(axis=0), atol=1e-12)
        votes = [int((members.argmax(axis=1) == position).sum()) for position in (0, 1)]
        assert [int(row[f"votes_{name}"]) for name in CLASSES] == votes
        assert row["call"] == CLASSES[int(np.argmax(votes))]
        assert float(row["agreement"]) == max(votes) / 3
        assert row["problem"] == ""
    assert len({row[f"p_{CLASSES[1]}"] for row in rows}) == 10, "each image has its own score"
    assert "10 images" in capsys.readouterr().out


def test_threshold_and_abstention(here, tmp_path, capsys):
    plain = predict(tmp_path / "plain.csv", "cells")
    scores = sorted(float(row[f"p_{CLASSES[1]}"]) for row in plain)
    rows = predict(tmp_path / "high.csv", "cells", "--threshold", f"{CLASSES[1]}={scores[4]!r}")
    assert sum(row["call"] == CLASSES[1] for row in rows) == 6
    assert f"{CLASSES[1]} from a mean probability of {scores[4]:.3g} on" in capsys.readouterr().out
    assert {row["call"] for row in rows} == set(CLASSES)
    rows = predict(tmp_path / "careful.csv", "cells", "--min-agreement", "1")
    assert [row["call"] == "abstained" for row in rows] == [float(row["agreement"]) < 1 for row in plain]


def evaluation(folder, method="efficientnet", **point):
    (folder / "results").mkdir(exist_ok=True)
    content = {
        "positive": CLASSES[1],
        "calibration": [{"method": "other", "temperature": 9.0}, {"method": method, "temperature": 0.1}],
        "operating_points": [{"method": method, "points": [{"name": "sensitivity", "reason": None, **point}]}],
    }
    (folder / "results/evaluation.json").write_text(json.dumps(content))


def test_an_operating_point_is_met_on_the_calibrated_mean_of_the_members_logits(here, tmp_path, capsys):
    plain = predict(tmp_path / "plain.csv", "cells")
    members = np.array([[float(row[f"fold_{fold}_p_{CLASSES[1]}"]) for fold in (1, 3, 4)] for row in plain])
    calibrated = 1 / (1 + np.exp(-np.log(members / (1 - members)).mean(axis=1) / 0.1))
    order = np.argsort(calibrated)
    threshold = float(calibrated[order[[3, 4]]].mean())
    evaluation(here, threshold=threshold)
    rows = predict(tmp_path / "point.csv", "cells", "--operating-point", "sensitivity")
    assert [row["call"] == CLASSES[1] for row in rows] == list(calibrated >= threshold)
    assert sum(row["call"] == CLASSES[1] for row in rows) == 6
    for name, part in (("youden", "it has sensitivity"), ("sensitivity", "of one class")):
        evaluation(here, threshold=None, reason="the validation images are all of one class")
        assert main(["predict", "cells", "--out", str(tmp_path / "no.csv"), "--operating-point", name]) == 2
        assert part in capsys.readouterr().err


@pytest.mark.parametrize("command", [["predict", "cells", "--operating-point", "sensitivity"], ["export"]])
def test_an_operating_point_of_other_networks_is_refused(here, tmp_path, capsys, command):
    evaluation(here, threshold=0.5)
    file = here / "results/evaluation.json"
    file.write_text(file.read_text().replace("0.1", "0.2"))
    assert main([*command, "--out", str(tmp_path / "out.onnx")]) == 2
    assert "results/evaluation.json is of other networks than" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_has_the_operating_points_of_its_own_networks(here, exported, tmp_path):
    evaluation(here, "two", threshold=1e-9)  # what the folder at hand evaluated is of other networks
    rows = predict(tmp_path / "point.csv", "cells", "--onnx", exported, "--operating-point", "sensitivity")
    members = np.array([[float(row[f"fold_{fold}_p_{CLASSES[1]}"]) for fold in (3, 4)] for row in rows])
    calibrated = 1 / (1 + np.exp(-np.log(members / (1 - members)).mean(axis=1) / 0.1))
    assert [row["call"] == CLASSES[1] for row in rows] == list(calibrated >= 0.9)
    assert {row["call"] for row in rows} == set(CLASSES)


def test_a_bad_image_is_a_row_and_stops_nothing(here, tmp_path):
    folder = tmp_path / "new"
    shutil.copytree(here / "cells", folder)
    (folder / 'a/bad, "name".png').write_bytes((folder / "a/0.png").read_bytes()[:100])
    (folder / "a/._0.png").write_bytes(b"litter")
    (folder / "notes.txt").write_text("no image")
    rows = predict(tmp_path / "scores.csv", folder, tmp_path / "new/notes.txt")
    bad = [row for row in rows if row["problem"]]
    assert [row["image"].rsplit("/", 1)[1] for row in bad] == ['bad, "name".png', "notes.txt"]
    assert bad[0]["problem"].startswith("truncated")
    assert bad[1]["problem"].startswith("not an image")
    assert all(row["call"] == "" and row[f"p_{CLASSES[0]}"] == "" for row in bad)
    good = {row["image"].rsplit("/", 1)[1]: row["p_HEM"] for row in rows if not row["problem"]}
    assert good == {row["image"].rsplit("/", 1)[1]: row["p_HEM"] for row in predict(tmp_path / "other.csv", "cells")}


def test_what_is_left_out_is_said_and_listed_and_a_file_named_twice_is_one_row(here, tmp_path, capsys):
    folder = tmp_path / "new"
    shutil.copytree(here / "cells", folder)
    (folder / "notes.txt").write_text("no image")
    (folder / "a/.DS_Store").touch()
    (folder / "a/out.png").symlink_to("/etc/hostname")
    (folder / "a/equal.png").symlink_to("0.png")
    os.mkfifo(folder / "5.png")
    out = tmp_path / "scores.A"
    assert len(predict(out, folder, folder / "a", folder / "a/../a/0.png")) == 11
    said = capsys.readouterr().out
    assert "11 images" in said
    assert "7 named twice" in said
    assert "2 not an image by its extension" in said
    reasons = dict(csv.reader((tmp_path / "scores.A.left_out.csv").read_text().splitlines()))
    assert reasons[f"{folder}/5.png"] == "not a regular file"
    assert reasons[f"{folder}/a/out.png"] == "symbolic link out of the root"
    assert reasons[f"{folder}/notes.txt"] == "not an image by its extension"
    predict(out, folder / "b")
    assert not (tmp_path / "scores.A.left_out.csv").exists()
    assert main(["predict", str(folder / "5.png"), "--out", str(out)]) == 2
    assert "(1 not a regular file)" in capsys.readouterr().err


def unlike(folder):
    """Pictures that are no cell on black, by what sets them apart; a cell is among them."""
    cell = disc(0)
    red, *others = cell.split()
    light = Image.new("RGB", cell.size, (230, 220, 225))
    light.paste(cell, mask=cell.convert("L").point(lambda value: 255 * (value > 9)))
    field = Image.new("RGB", (90, 60))
    for place in range(6):
        field.paste(cell.resize((24, 24)), (30 * (place % 3), 30 * (place // 3)))
    pictures = {
        "background": light,
        "bodies": field,
        "red less green": Image.merge("RGB", [red.point(lambda value: value // 2), *others]),
        "brightness": cell.point(lambda value: value // 3),
        "area": cell.resize((20, 20)),
        "": cell,
    }
    for name, picture in pictures.items():
        save_image(folder / f"{name or 'cell'}.png", picture)
    return folder


def test_a_picture_unlike_the_training_images_is_said_to_be_so_and_not_called(here, exported, tmp_path, capsys):
    folder = unlike(tmp_path / "new")
    for number, model in enumerate((["--model", "two"], ["--onnx", exported])):
        rows = predict(tmp_path / f"{number}.csv", folder, *model)
        for row in rows:
            expected = Path(row["image"]).stem.removeprefix("cell")
            assert (row["call"] == "abstained") == (expected != "")
            assert expected in row["problem"]
            assert row["problem"].startswith("unlike the training images: ") == (expected != "")
            assert float(row["p_HEM"]) >= 0
        assert "5 unlike the training images" in capsys.readouterr().out


def test_features_far_from_those_of_the_training_images_are_said(copied, tmp_path):
    for fold in (1, 3, 4):
        write_distance(Path(f"runs/efficientnet/fold-{fold}"), usual=0.1)
    rows = predict(tmp_path / "far.csv", "cells")
    assert all("times as far from theirs as is usual" in row["problem"] for row in rows)


def test_a_map_shows_where_the_folds_looked_for_the_class_that_was_called(here, tmp_path):
    folder = tmp_path / "new"
    shutil.copytree(here / "cells", folder)
    (folder / "a/1bad.png").write_bytes(b"nothing")
    plain = predict(tmp_path / "plain.csv", folder)
    other = {CLASSES[0]: CLASSES[1], CLASSES[1]: CLASSES[0]}[plain[0]["call"]]
    ensemble = TorchEnsemble("efficientnet")
    for name, called, arguments in (
        ("majority", plain[0]["call"], ["--min-agreement", "1"]),
        ("other", other, ["--threshold", f"{other}=0"]),
    ):
        rows = predict(tmp_path / "scores.csv", folder, "--maps", tmp_path / name, *arguments)
        assert [{key: row[key] for key in plain[0] if key != "call"} for row in rows] == [
            {key: row[key] for key in row if key != "call"} for row in plain
        ]
        assert [row["map"] == "" for row in rows] == [row["problem"] != "" for row in rows]
        assert sorted(row["map"] for row in rows if row["map"]) == sorted(
            path.name for path in (tmp_path / name).iterdir()
        )
        assert rows[0]["map"] == "000001-0.webp"
        pixels, _ = scoring.images.read(folder / "a/0.png", SIZE, 30, "cell")
        batch = torch.from_numpy(pixels[None].copy()).permute(0, 3, 1, 2)
        maps = [
            grad_cam(member.network, member.normalise(batch), torch.tensor([CLASSES.index(called)]))
            for member in ensemble.members
        ]
        mean = torch.stack(maps).mean(0)[0]
        expected = overlay(pixels, (255 * mean / mean.max()).round().to(torch.uint8).numpy())
        assert (tmp_path / name / "000001-0.webp").read_bytes() == expected
    pictures = [(tmp_path / name / "000001-0.webp").read_bytes() for name in ("majority", "other")]
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--maps", "cells"], "this is no empty folder"),
        (["--maps", "params.yaml"], "this is no empty folder"),
        (["--maps", "maps", "--onnx", "ensemble.onnx"], "leave out --onnx"),
    ],
)
def test_maps_that_cannot_be_drawn_are_a_sentence_and_touch_nothing(here, tmp_path, capsys, arguments, part):
    before = sorted(here.rglob("*"))
    assert main(["predict", "cells", *arguments, "--out", str(tmp_path / "scores.csv")]) == 2
    assert part in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert sorted(here.rglob("*")) == before


def test_a_table_in_the_folder_of_maps_would_be_lost(here, tmp_path, capsys):
    folder = tmp_path / "maps"
    assert main(["predict", "cells", "--maps", str(folder), "--out", str(folder / "scores.csv")]) == 2
    assert "lies in the folder of --maps" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["data"], "no images"),
        (["cells", "--model", "other"], "there is: efficientnet"),
        (["cells", "--threshold", "0.5"], "CLASS=PROBABILITY"),
        (["cells", "--threshold", "AML=0.5"], "none of the classes HEM"),
        (["cells", "--min-agreement", "80"], "between 0 and 1, such as 0.8, not 80"),
        (["cells", "--min-agreement", "nan"], "between 0 and 1"),
        (["cells", "--onnx", "cells/a/0.png"], "not an ensemble"),
    ],
)
def test_what_cannot_be_scored_is_a_sentence_and_leaves_no_file(here, tmp_path, capsys, arguments, part):
    assert main(["predict", *arguments, "--out", str(tmp_path / "scores.csv")]) == 2
    assert part in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_never_replaced(here, exported, tmp_path, capsys):
    picture = tmp_path / "cell.png"
    save_image(picture, disc(1))
    for arguments, out in (([picture], picture), (["cells", "--onnx", exported], exported)):
        content = out.read_bytes()
        assert main(["predict", *map(str, arguments), "--out", str(out)]) == 2
        assert "would be replaced" in capsys.readouterr().err
        assert out.read_bytes() == content


def test_a_table_of_an_earlier_call_is_replaced_and_no_other_file_is(here, tmp_path, capsys):
    """The same call twice is no question; nor is an empty file, such as `mktemp` makes."""
    out, beside = tmp_path / "scores.csv", tmp_path / "scores.left_out.csv"
    (tmp_path / "new").mkdir()
    save_image(tmp_path / "new/1.png", disc(1))
    (tmp_path / "new/notes.txt").touch()
    out.touch()
    for _ in range(2):
        predict(out, tmp_path / "new", "--model", "two")
    arguments = ["predict", str(tmp_path / "new"), "--model", "two", "--out", str(out)]
    head, rest = out.read_text().split("\n", 1)
    for file, content in (
        (out, "file,patient,label\n1.png,p,ALL\n"), (out, f"{head},my notes\n{rest}"), (beside, "mine\n"),
    ):  # fmt: skip
        before = file.read_text()
        file.write_text(content)
        assert main(arguments) == 2
        assert f"{file} was not written by this command, and would be replaced" in capsys.readouterr().err
        assert file.read_text() == content
        file.write_text(before)
    assert main(["export", "--model", "two", "--out", str(out)]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    beside.unlink()
    beside.mkdir()
    assert main(arguments) == 2
    os.mkfifo(tmp_path / "pipe")
    assert main([*arguments[:-1], str(tmp_path / "pipe")]) == 2
    assert (tmp_path / "pipe").is_fifo()


def test_a_gpu_that_this_runtime_cannot_use_is_named(here, exported, tmp_path, capsys):
    arguments = ["predict", "cells", "--onnx", str(exported), "--device", "cuda", "--out", str(tmp_path / "scores.csv")]
    assert main(arguments) == 2
    assert "install onnxruntime-gpu" in capsys.readouterr().err


def test_a_model_that_the_onnx_file_does_not_hold_is_an_error(here, exported, tmp_path, capsys):
    arguments = ["cells", "--onnx", str(exported), "--out", str(tmp_path / "scores.csv")]
    assert main(["predict", *arguments, "--model", "efficientnet"]) == 2
    assert "is an ensemble of two" in capsys.readouterr().err
    for content in (b"", b"<html>"):
        (tmp_path / "fetched.onnx").write_bytes(content)
        assert main(["predict", "cells", "--onnx", str(tmp_path / "fetched.onnx"), "--out", arguments[-1]]) == 2
        assert "is not an ensemble that" in capsys.readouterr().err


def test_a_file_with_another_digest_than_stated_is_not_used(exported, here, tmp_path, capsys):
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()
    arguments = ["cells", "--out", str(tmp_path / "scores.csv"), "--sha256"]
    assert main(["predict", *arguments, digest.upper(), "--onnx", str(exported)]) == 0
    assert main(["predict", *arguments, "0" * 64, "--onnx", str(exported)]) == 2
    assert f"has the SHA-256 {digest} and not 000" in capsys.readouterr().err
    assert main(["predict", *arguments, digest]) == 2
    assert "name the file with --onnx" in capsys.readouterr().err


def test_nothing_readable_is_an_error_and_the_table_says_why(here, tmp_path, capsys):
    (tmp_path / "text.bmp").write_text("no image")
    assert main(["predict", str(tmp_path / "text.bmp"), "--out", str(tmp_path / "scores.csv")]) == 2
    assert "none of the 1 files can be read" in capsys.readouterr().err
    assert "not an image" in (tmp_path / "scores.csv").read_text()


@pytest.mark.parametrize("command", [["predict", "cells"], ["export"]])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(here, tmp_path, capsys, monkeypatch, command):
    monkeypatch.setattr("job.ensemble.networks.TorchEnsemble.__init__", lambda *_: pytest.fail("it went to work"))
    (tmp_path / "file").touch()
    for out, part in ((tmp_path, "is a folder: name the file"), (tmp_path / "file/scores.csv", "file is no folder")):
        assert main([*command, "--out", str(out)]) == 2
        assert part in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_that_is_no_utf_8_is_in_the_table_with_escapes(here, tmp_path):
    folder = tmp_path / "new"
    shutil.copytree(here / "cells/a", folder)
    (folder / "0.png").rename(folder / os.fsdecode(b"bl\xe4st.png"))
    (folder / os.fsdecode(b"b\xe4d.png")).touch()
    rows = predict(tmp_path / "scores.csv", folder, "--maps", tmp_path / "maps")
    assert [row["image"].rsplit("/", 1)[1] for row in rows][-2:] == [r"bl\xe4st.png", r"b\xe4d.png"]
    assert [row["problem"] for row in rows[-2:]] == ["", "empty file"]
    assert (tmp_path / "maps" / rows[-2]["map"]).is_file()


def test_weights_that_were_not_evaluated_are_refused(trained, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    shutil.copy("runs/efficientnet/fold-1/model.safetensors", "runs/efficientnet/fold-3/model.safetensors")
    assert main(["predict", "cells", "--out", "scores.csv"]) == 2
    assert "fold-3/model.safetensors is not the network that was evaluated" in capsys.readouterr().err


def test_onnx_gives_the_same_without_torch_and_leaves_nothing_in_the_home_folder(exported, here, tmp_path):
    rows = predict(tmp_path / "torch.csv", "cells", "--model", "two")
    out = tmp_path / "onnx.csv"
    code = (
        "import sys; from job.__main__ import main\n"
        f"assert main(['predict', 'cells', '--onnx', {str(exported)!r}, '--out', {str(out)!r}]) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT), "HOME": str(home)}, check=True)
    assert list(home.iterdir()) == []
    with out.open(newline="", encoding="utf-8") as handle:
        others = list(csv.DictReader(handle))
    assert [row["image"] for row in others] == [row["image"] for row in rows]
    numbers = [name for name in rows[0] if "p_" in name]
    assert len(numbers) == 2 * 3
    differences = [[float(a[name]) - float(b[name]) for name in numbers] for a, b in zip(rows, others, strict=True)]
    assert np.abs(differences).max() < 1e-4
    assert np.std([float(row["p_HEM"]) for row in rows]) > 1e-3


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    """A copy of the ensembles whose facts a test changes."""
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder, symlinks=True)
    monkeypatch.chdir(folder)

    def change(path, **facts):
        path = folder / path
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return change


@pytest.mark.slow
def test_an_ensemble_with_views_is_exported_too(copied, capsys):
    members = json.loads(Path("ensembles/two/ensemble.json").read_text())["members"]
    copied("ensembles/two/ensemble.json", members=members[:1], views=8)
    assert main(["export", "--model", "two", "--out", "one.onnx"]) == 0, capsys.readouterr().err
    exact = TorchEnsemble("two")
    pixels = np.load("data/prepared/images.npy")
    [probabilities] = importlib.import_module("job.ensemble.onnx_file").OnnxEnsemble(Path("one.onnx")).judge(pixels)[0]
    np.testing.assert_allclose(probabilities, exact.judge(pixels)[0][0], atol=1e-4)


def test_an_export_is_held_against_the_mean_over_the_views(copied):
    """What the exporter is given, and what its file is compared with."""
    export = importlib.import_module("job.commands.export")
    copied("ensembles/two/ensemble.json", views=8)
    ensemble, pixels = TorchEnsemble("two"), np.load("data/prepared/images.npy")[:3]
    with torch.inference_mode():
        given = export.Together(ensemble.members).eval()(torch.from_numpy(pixels))[0].numpy()
    np.testing.assert_allclose(export._exact(ensemble, pixels), given, atol=1e-4)
    copied("ensembles/two/ensemble.json", views=1)
    assert np.abs(export._exact(TorchEnsemble("two"), pixels) - given).max() > 1e-3


def test_an_image_is_seen_as_often_as_evaluated_whatever_the_parameters_say_now(copied, tmp_path, capsys):
    once = predict(tmp_path / "once.csv", "cells")
    repository.change(Path(), {"predict": {"tta": True}})
    assert predict(tmp_path / "again.csv", "cells") == once
    pixels = scoring.images.read(Path("cells/a/0.png"), SIZE, 30, "cell")[0]
    turned = np.stack([np.rot90(view, turns) for view in (pixels, pixels[:, ::-1]) for turns in range(4)])
    views = TorchEnsemble("efficientnet").judge(turned)[0][1, :, 0].astype(np.float64)
    copied("ensembles/efficientnet/ensemble.json", views=8)
    averaged = predict(tmp_path / "averaged.csv", "cells")
    assert float(averaged[0]["fold_3_p_HEM"]) == pytest.approx(views.mean(), abs=1e-6)
    described = json.loads(Path("ensembles/efficientnet/ensemble.json").read_text())
    del described["views"]
    Path("ensembles/efficientnet/ensemble.json").write_text(json.dumps(described))
    assert main(["predict", "cells", "--out", "no.csv"]) == 2
    assert "ensemble.json is not of this version of the code (no views): run `dvc repro`" in capsys.readouterr().err


@pytest.mark.parametrize(("which", "factor"), [(0, 1.1), (0, np.nan), (1, 1.5)])
def test_a_file_that_does_not_compute_what_torch_does_is_not_kept(
    exported, here, tmp_path, monkeypatch, capsys, which, factor
):
    """Neither with other probabilities nor with other distances: these decide which cells are called unlike."""
    from job.commands import export  # noqa: PLC0415  # imports torch's exporter

    judge = export.OnnxEnsemble.judge
    factors = [factor if which == number else 1 for number in (0, 1)]
    wrong = lambda self, batch: [part * by for part, by in zip(judge(self, batch), factors, strict=True)]  # noqa: E731
    monkeypatch.setattr(export, "_write", lambda _, path: path.write_bytes(exported.read_bytes()))
    monkeypatch.setattr(export.OnnxEnsemble, "judge", wrong)
    assert main(["export", "--model", "two", "--out", str(tmp_path / "ensemble.onnx")]) == 2
    assert "is not kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_images_are_read_a_few_batches_ahead_only(monkeypatch):
    """Memory stays flat, however many images there are."""
    read = []
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    monkeypatch.setattr(scoring.images, "read", lambda path, *_: (read.append(path), (pixels, None))[1])

    class Constant:
        manifest = scoring.Manifest("efficientnet", (1,), ("A", "B"), SIZE, 0, "image")

        def judge(self, batch):
            return np.full((1, len(batch), 2), 0.5, dtype=np.float32), np.zeros((1, len(batch)))

    files = [Path(f"{number}.png") for number in range(1000)]
    stream = scoring.rows(files, Constant(), scoring.Rule(), batch_size=8)
    next(stream)
    assert len(read) <= 4 * 8
    assert [row[0] for row in stream] == [f"{number}.png" for number in range(1, 1000)]


@pytest.mark.parametrize(("cores", "together"), [(1, 1), (2, 2), (64, 3)])
def test_memory_does_not_grow_with_the_cores(here, monkeypatch, cores, together):
    """Members that judge at a time share the pixels of a batch: three judge here."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    assert TorchEnsemble("efficientnet").most_pixels == 400_000 // together


def test_an_image_is_seen_as_prepare_saw_it(here, tmp_path):
    """Crop and size come from model.json: a cell off the centre is found as in training."""
    off = Image.new("RGB", (90, 70))
    off.paste(disc(0), (44, 6))
    save_image(tmp_path / "off.png", off)
    [moved] = predict(tmp_path / "moved.csv", tmp_path / "off.png")
    [first] = predict(tmp_path / "first.csv", "cells/a/0.png")
    assert moved["p_HEM"] == first["p_HEM"]
