"""What each method may see, and that pseudo-labels stay with their own images."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job.contracts.split import Split, read_split
from job.errors import StoppedError, UserError
from job.files import read_json
from job.inference import appearance, runs, runtime
from job.inference import predict as inference
from job.inference.pixels import Context, Normalise, PixelStore
from job.inference.predict import Distance, features_of
from job.methods import linear_probe, noisy_student
from job.models.network import fuse_batch_norm, normalisation
from job.params import METHODS, load
from job.training import record
from job.training.fit import Trainer
from job.training.restart import Restart
from job.training.task import Task
from tests import ROOT
from tests.training.silent import NoState, Silent
from tests.training.test_restart import StopAfter, same

CLASSES = ("HEM", "ALL")


def split_file(path, count=60, folds=3, test=9, seed=0):
    rng = np.random.default_rng(seed)
    roles = np.array(["train"] * (count - test) + ["test"] * test)
    train = roles == "train"
    table = pd.DataFrame({
        "row": rng.permutation(count), "image": [f"{n}.png" for n in range(count)],
        "subject": [f"{role}{n // 3}" for n, role in enumerate(roles)], "role": roles,
        "fold": pd.array(np.where(train, np.arange(count) % folds + 1, 0), dtype="Int64"),
        "half": np.where(train, np.where(rng.random(count) < 0.5, "labelled", "masked"), ""),
        "label": np.where(train, np.where(rng.random(count) < 0.6, "ALL", "HEM"), ""),
    })  # fmt: skip
    table["pool"] = (table["half"] == "masked").astype(int)
    table.loc[~train, "fold"] = pd.NA
    table.to_csv(path, index=False)
    return read_split(path, CLASSES)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_masked_half_is_handed_over_without_labels(tmp_path_factory, seed, number):
    split = split_file(tmp_path_factory.mktemp("split") / "split.csv", seed=seed)
    fold = split.fold(number, CLASSES, labels="half")
    table = split.table.set_index("row")
    assert set(table.loc[fold.train.rows, "half"]) <= {"labelled"}
    assert set(table.loc[fold.masked, "half"]) <= {"masked"}
    assert (table.loc[fold.validation.rows, "fold"] == number).all()
    assert (table.loc[[*fold.train.rows, *fold.masked], "fold"] != number).all()
    assert (table.loc[[*fold.train.rows, *fold.masked, *fold.validation.rows], "role"] == "train").all()
    # Not by promise: nothing of what is handed over holds one value per masked image but the row itself.
    fields = [getattr(fold, field.name) for field in dataclasses.fields(fold)]
    per_masked = [value for value in fields if isinstance(value, np.ndarray) and len(value) == len(fold.masked)]
    assert len(per_masked) == 2
    assert all(np.array_equal(value, fold.masked) for value in per_masked)
    assert [CLASSES[c] for c in fold.train.classes] == table.loc[fold.train.rows, "label"].tolist()


def test_students_learn_from_what_the_split_names_and_never_from_what_validates(tmp_path):
    split = split_file(tmp_path / "split.csv")
    table = split.table
    table.loc[table["role"] == "test", "role"] = "unlabelled"
    table["pool"] = (table["role"] == "unlabelled").astype(int)
    fold = Split(Path("split.csv"), table).fold(1, CLASSES, labels="half")
    assert sorted(fold.unlabelled) == sorted(table.loc[table["role"] == "unlabelled", "row"])
    table["pool"] |= table["half"] == "masked"
    fold = Split(Path("split.csv"), table).fold(1, CLASSES, labels="half")
    assert len(fold.unlabelled) == len(fold.masked) + 9
    assert not set(fold.unlabelled) & set(fold.validation.rows)
    assert len(Split(Path("split.csv"), table).fold(1, CLASSES, labels="all").unlabelled) == 0


def test_all_labels_means_no_masked_images(tmp_path):
    fold = split_file(tmp_path / "split.csv").fold(1, CLASSES, labels="all")
    assert len(fold.masked) == 0
    assert len(fold.train.rows) + len(fold.validation.rows) == 51


def test_a_subject_on_two_sides_is_refused_when_the_split_is_read(tmp_path):
    split = split_file(tmp_path / "split.csv")
    split.table.loc[split.table["role"] == "test", "subject"] = "train0"
    split.table.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(UserError, match="column 'subject': 'train0' has training and test images"):
        read_split(tmp_path / "bad.csv", CLASSES)


def small_task(tmp_path, **changes):
    """One fold of a few small images; `changes` are values of sections of the parameters."""
    params = load(ROOT / "params.yaml")
    small = {
        "train": {"epochs": 1, "learning_rate": 0.001},
        "noisy_student": {"iterations": 2},
        "model": {"weights": "none"},
    }
    sections = {name: small.get(name, {}) | changes.get(name, {}) for name in small.keys() | changes.keys()}
    update = {name: getattr(params, name).model_copy(update=section) for name, section in sections.items()}
    params = params.model_copy(update=update)
    split = split_file(tmp_path / "split.csv")
    device = runtime.setup(params.train)
    pixels = np.random.default_rng(3).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    context = Context(PixelStore(pixels), Normalise.of(*normalisation(params.model.backbone), device), device)
    return split, Task(split.fold(1, CLASSES, labels="half"), CLASSES, context, params, Silent(), NoState())


@pytest.fixture
def task(tmp_path):
    return small_task(tmp_path)


def test_each_student_learns_from_what_the_model_before_it_said(task, monkeypatch):
    """What the teacher predicts for an image, one image at a time, is that image's pseudo-label."""
    _, task = task
    given, fit = [], Trainer.fit

    def spy(trainer, network):
        (source,) = trainer.sources
        given.append((trainer.name, source.rows, source.targets))
        return fit(trainer, network)

    monkeypatch.setattr(Trainer, "fit", spy)
    trained = noisy_student.train(task)
    assert [name for name, *_ in given] == ["teacher", "student-1", "student-2"]
    assert given[0][1].tolist() == task.fold.train.rows.tolist()
    assert given[0][2].tolist() == task.fold.train.classes.tolist()
    for iteration in (1, 2):
        _, rows, targets = given[iteration]
        assert rows.tolist() == task.fold.unlabelled.tolist()
        teacher = task.fresh_network("any")
        teacher.load_state_dict(trained.models[iteration - 1].state)
        alone = torch.cat([inference.predict_logits(teacher, task.context, np.array([row])) for row in rows])
        assert targets.tolist() == alone.argmax(1).tolist()
        assert np.allclose(trained.pseudo_labels[iteration].probabilities, inference.probabilities(alone), atol=1e-5)


def test_every_student_starts_fresh(task):
    _, task = task
    heads = [task.fresh_network("student", iteration)._fc.weight for iteration in (1, 2)]
    assert not torch.equal(*heads)
    assert torch.equal(heads[0], task.fresh_network("student", 1)._fc.weight)


def test_a_run_folder_is_all_that_is_needed_to_predict(task, tmp_path):
    split, task = task
    trained = noisy_student.train(task)
    folder = tmp_path / "run"
    folder.mkdir()
    prepared = {"classes": CLASSES, "size": 32, "crop": 0, "center": "cell", "synthetic": True}
    record.write(folder, trained, task, method="noisy_student", prepared=prepared, labels="half", split=split)
    facts = read_json(folder / runs.FACTS)
    assert facts["synthetic"]
    assert facts["parameters"]["train"] == task.params.train.model_dump()
    assert list(runs.iterations(folder)) == [0, 1, 2]
    for iteration, path in runs.iterations(folder).items():
        network = runs.load_network(facts, path, torch.device("cpu"), iteration)
        expected = task.fresh_network("any")
        expected.load_state_dict(trained.models[iteration].state)
        expected = fuse_batch_norm(expected.eval())
        rows = split.rows("test")
        assert torch.equal(
            inference.predict_logits(network, task.context, rows),
            inference.predict_logits(expected, task.context, rows),
        )
    assert (folder / "model.safetensors").read_bytes() == (folder / "iterations/2/model.safetensors").read_bytes()
    pseudo = pd.read_csv(folder / "iterations/1/pseudo_labels.csv")
    assert pseudo["image"].tolist() == split.names(task.fold.unlabelled)
    assert np.array_equal(pseudo[["p_HEM", "p_ALL"]].to_numpy(np.float32), trained.pseudo_labels[1].probabilities)
    assert len(pd.read_csv(folder / "history.csv")) == 3
    own = task.context.store.pixels[task.fold.train.rows]
    distance = Distance(load_file(folder / runs.LIKENESS))
    network = runs.load_network(facts, folder / runs.WEIGHTS, torch.device("cpu"))
    far = [float(distance(torch.from_numpy(features_of(network, task.context, rows))).mean()) for rows in
           (task.fold.train.rows, task.fold.validation.rows)]  # fmt: skip
    assert far[0] < far[1] < 1
    assert sum(map(bool, appearance.problems(own, facts["likeness"], np.zeros(len(own))))) <= 1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name, task):
    module = importlib.import_module(f"job.methods.{name}")
    split, task = task
    fold = split.fold(1, CLASSES, labels=task.params.labels(name))
    progress = Silent()
    trained = module.train(dataclasses.replace(task, fold=fold, progress=progress))
    assert progress.count == progress.total > 0
    assert progress.epochs == [epoch for fitted in trained.models for epoch in fitted.history]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_ends_the_same_wherever_it_was_stopped(name, tmp_path):
    changes = {"train": {"epochs": 2, "batch_size": 6}, "noisy_student": {"iterations": 1, "finetune_epochs": 1}}
    _, task = small_task(tmp_path, **changes)
    method = importlib.import_module(f"job.methods.{name}")
    batches = []
    counting = dataclasses.replace(task, context=dataclasses.replace(task.context, check=lambda: batches.append(1)))
    expected = method.train(counting)
    for stop in {0, len(batches) // 5, len(batches) // 2, len(batches) - 1}:
        states = Restart(tmp_path / str(stop), 1e9)
        stopping = dataclasses.replace(task.context, check=StopAfter(stop))
        with pytest.raises(StoppedError):
            method.train(dataclasses.replace(task, context=stopping, restart=states))
        torch.rand(3)
        again = method.train(dataclasses.replace(task, restart=states))
        for one, other in zip(again.models, expected.models, strict=True):
            same(one, other)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_depends_on_a_masked_label(name, tmp_path):
    split, task = small_task(tmp_path, efficientnet={"labels": "half"}, linear_probe={"labels": "half"})
    method = importlib.import_module(f"job.methods.{name}")
    assert task.params.labels(name) == "half"
    table = split.table
    visible = (table["half"] != "masked") | (table["fold"] == 1)
    hidden = dataclasses.replace(split, table=table.assign(label=table["label"].where(visible, "?")))
    again = dataclasses.replace(task, fold=hidden.fold(1, CLASSES, labels="half"))
    for one, other in zip(method.train(again).models, method.train(task).models, strict=True):
        same(one, other)


def test_the_probe_is_a_logistic_regression_on_the_features(task):
    """The network that comes out says what scikit-learn says of the features that went in."""
    split, task = task
    fold = split.fold(1, CLASSES, labels="all")
    trained = linear_probe.train(dataclasses.replace(task, fold=fold))
    network = task.fresh_network("probe")
    labelled = linear_probe.features(task, network, fold.train.rows)
    assert labelled.shape == (len(fold.train.rows), 1280)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=task.params.linear_probe.c, max_iter=10_000))
    reference.fit(labelled, fold.train.classes)
    expected = reference.predict_proba(linear_probe.features(task, network, fold.validation.rows))
    body = {name: value.clone() for name, value in network.state_dict().items() if not name.startswith("_fc")}
    network.load_state_dict(trained.models[0].state)
    assert np.allclose(
        inference.predict(network, task.context, fold.validation.rows, 64, tta=False), expected, atol=1e-5
    )
    assert all(torch.equal(value, trained.models[0].state[name]) for name, value in body.items())


def test_a_probe_with_noise_sees_every_image_in_eight_versions(tmp_path):
    split, task = small_task(tmp_path, train={"augment": "dihedral"})
    fold = split.fold(1, CLASSES, labels="all")
    network = task.fresh_network("probe").eval()
    plain = linear_probe.features(task, network, fold.train.rows)
    versions = [plain]
    for number in range(1, 8):
        augmented = linear_probe.features(task, network, fold.train.rows, number)
        assert augmented.shape == plain.shape
        assert not np.array_equal(augmented, versions[-1])
        versions.append(augmented)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=task.params.linear_probe.c, max_iter=10_000))
    reference.fit(np.concatenate(versions), np.tile(fold.train.classes, 8))
    expected = reference.predict_proba(linear_probe.features(task, network, fold.validation.rows))
    trained = linear_probe.train(dataclasses.replace(task, fold=fold))
    network.load_state_dict(trained.models[0].state)
    assert np.allclose(
        inference.predict(network, task.context, fold.validation.rows, 64, tta=False), expected, atol=1e-5
    )


def test_three_classes_go_through_every_method(tmp_path):
    """Heads, pseudo-labels and probes follow the names in the data."""
    split, task = small_task(tmp_path, noisy_student={"confidence": 0.34, "balance": True, "iterations": 1})
    names = ("A", "B", "C")
    table = split.table
    has_label = table["label"] != ""
    table["label"] = np.where(has_label, np.take(names, table["row"] % 3), "")
    for method in METHODS:
        module = importlib.import_module(f"job.methods.{method}")
        fold = split.fold(1, names, labels=task.params.labels(method))
        trained = module.train(dataclasses.replace(task, fold=fold, classes=names, progress=Silent()))
        network = task.fresh_network("any")
        assert network._fc.out_features == 2
        network = dataclasses.replace(task, classes=names).fresh_network("any")
        network.load_state_dict(trained.models[-1].state)
        predicted = inference.predict(network, task.context, fold.validation.rows, 64, tta=True)
        assert predicted.shape == (len(fold.validation.rows), 3)
        assert np.allclose(predicted.sum(1), 1, atol=1e-6)


def test_views_at_test_time_are_averaged_probabilities(task):
    _, task = task
    network, rows = task.fresh_network("any"), task.fold.unlabelled[:5]
    averaged = inference.predict(network, task.context, rows, 2, tta=True)
    pixels = task.context.store.pixels[rows]
    each = []
    for quarter in range(4):
        for view in (np.rot90(pixels, quarter, (1, 2)), np.rot90(pixels, quarter, (1, 2))[:, :, ::-1]):
            store = PixelStore(np.ascontiguousarray(view))
            context = dataclasses.replace(task.context, store=store)
            each.append(inference.predict(network, context, np.arange(5), 5, tta=False))
    assert np.allclose(averaged, np.mean(each, axis=0), atol=1e-5)
