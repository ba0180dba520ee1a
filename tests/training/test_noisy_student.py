import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from job.errors import UserError
from job.inference.predict import predict_logits, probabilities
from job.methods import noisy_student
from job.temperature import fit_temperature
from job.training.fit import Trainer
from tests.training.test_methods import small_task

PROBABILITIES = arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(2, 4)), elements=st.floats(0.01, 1)).map(
    lambda raw: raw / raw.sum(1, keepdims=True)
)


@given(PROBABILITIES, st.floats(0, 0.9), st.booleans())
def test_only_confident_answers_are_kept_and_balance_keeps_their_number(probabilities, confidence, balance):
    confident = np.flatnonzero(probabilities.max(1) >= confidence)
    if len(confident) < 2:
        with pytest.raises(UserError, match="confidence"):
            noisy_student.select(probabilities, confidence=confidence, balance=balance)
        return
    kept = noisy_student.select(probabilities, confidence=confidence, balance=balance)
    assert set(kept) <= set(confident)
    assert len(kept) == len(confident)
    predicted = probabilities.argmax(1)
    if balance:
        counts = np.bincount(predicted[kept])
        assert np.ptp(counts[counts > 0]) <= 1
        assert set(predicted[kept]) == set(predicted[confident])
    else:
        assert kept.tolist() == confident.tolist()


def test_balance_takes_the_most_confident_of_a_common_class_and_repeats_a_scarce_one():
    first = np.array([0.9, 0.99, 0.8, 0.97, 0.3, 0.95])
    kept = noisy_student.select(np.stack([first, 1 - first], 1), confidence=0.0, balance=True)
    assert kept.tolist() == [1, 3, 4, 4, 4, 5]


def test_targets():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    assert noisy_student.targets(logits, labels="hard", temperature=1).tolist() == [0, 1]
    soft = noisy_student.targets(logits, labels="soft", temperature=0.5)
    assert torch.allclose(soft, (2 * logits).softmax(1))


def sources_of(monkeypatch, task):
    """The trainer and the network of each model of a run, by the model's name."""
    trainers, networks, fit = {}, {}, Trainer.fit

    def spy(trainer, network, beside=None):
        trainers[trainer.name], networks[trainer.name] = trainer, network
        return fit(trainer, network, beside)

    monkeypatch.setattr(Trainer, "fit", spy)
    return noisy_student.train(task), trainers, networks


def test_soft_labels_are_the_teachers_probabilities(tmp_path, monkeypatch):
    _, task = small_task(tmp_path, noisy_student={"labels": "soft", "iterations": 1})
    trained, trainers, _ = sources_of(monkeypatch, task)
    (source,) = trainers["student-1"].sources
    assert np.array_equal(source.targets.numpy(), trained.pseudo_labels[1].probabilities)
    assert trained.pseudo_labels[1].times.tolist() == [1] * len(task.fold.unlabelled)


def test_the_papers_student_learns_from_both_with_noise_and_smooths_true_labels_only(tmp_path, monkeypatch):
    _, task = small_task(
        tmp_path,
        noisy_student={
            "iterations": 1, "train_on": "labelled+pseudo", "batch_ratio": 2, "loss_weight": 3.0, "augment": "cells",
            "dropout": 0.3, "stochastic_depth": 0.4, "finetune_epochs": 1,
        },
        train={"label_smoothing": 0.1, "batch_size": 4},
    )  # fmt: skip
    trained, trainers, networks = sources_of(monkeypatch, task)
    (teacher,) = trainers["teacher"].sources
    assert (teacher.augment, teacher.smoothing) == ("none", 0.1)
    pseudo, labelled = trainers["student-1"].sources
    assert (pseudo.batch_size, pseudo.weight, pseudo.augment, pseudo.smoothing) == (8, 3.0, "cells", 0.0)
    assert (labelled.batch_size, labelled.weight, labelled.augment, labelled.smoothing) == (4, 1.0, "cells", 0.1)
    assert labelled.rows.tolist() == task.fold.train.rows.tolist()
    assert labelled.targets.tolist() == task.fold.train.classes.tolist()
    assert (networks["teacher"]._dropout.p, networks["student-1"]._dropout.p) == (0.5, 0.3)
    (tuned,) = trainers["student-1-tuned"].sources
    assert (tuned.augment, tuned.rows.tolist()) == ("none", task.fold.train.rows.tolist())
    tuned_rate = trainers["student-1-tuned"].task.params.train.learning_rate
    assert tuned_rate == pytest.approx(task.params.train.learning_rate / 10)
    assert [epoch.model for epoch in trained.models[1].history] == ["student-1", "student-1-tuned"]
    assert trained.models[1].best == max(trained.models[1].history, key=lambda epoch: epoch.score)


def test_a_filter_keeps_images_beside_their_own_labels(tmp_path, monkeypatch):
    # A network with random weights is not sure of anything: the threshold lies within what it says.
    settings = {"iterations": 1, "confidence": 0.5, "balance": True}
    _, task = small_task(tmp_path, noisy_student=settings, train={"learning_rate": 0.05, "epochs": 2})
    trained, trainers, _ = sources_of(monkeypatch, task)
    pseudo = trained.pseudo_labels[1]
    (source,) = trainers["student-1"].sources
    predicted = dict(zip(pseudo.rows.tolist(), pseudo.probabilities.argmax(1).tolist(), strict=True))
    assert [predicted[row] for row in source.rows.tolist()] == source.targets.tolist()
    assert np.repeat(pseudo.rows, pseudo.times).tolist() == source.rows.tolist()
    assert ((pseudo.times > 0) <= (pseudo.confidence >= 0.5)).all()
    teacher = task.fresh_network("any")
    teacher.load_state_dict(trained.models[0].state)
    logits = predict_logits(teacher, task.context, task.fold.validation.rows)
    temperature = fit_temperature(logits.double().numpy(), task.fold.validation.classes)
    masked = predict_logits(teacher, task.context, task.fold.unlabelled)
    assert np.allclose(pseudo.confidence, probabilities(masked / temperature).max(1), atol=1e-6)


def test_students_may_be_another_network(tmp_path, monkeypatch):
    _, task = small_task(tmp_path, noisy_student={"iterations": 2, "backbone": "efficientnet-b0"})
    _, trainers, networks = sources_of(monkeypatch, task)
    sizes = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert sizes["student-1"] == sizes["student-2"] > sizes["teacher"]
    # Each network sees its pixels as its own weights expect them.
    row = task.fold.unlabelled[:1]
    teacher, student = (trainers[name].task.context.images(row) for name in ("teacher", "student-1"))
    assert not torch.allclose(teacher, student)
