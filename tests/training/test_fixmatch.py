"""The loss of FixMatch as it is written in the paper, and what the two views of an image are."""

import pytest
import torch
from torch.nn import functional

from job.methods import fixmatch
from job.training.fit import Trainer
from tests.training.test_methods import small_task


def test_only_confident_images_count_and_only_strong_views_learn():
    weak = torch.tensor([[4.0, 0.0], [0.1, 0.0], [0.0, 5.0]], requires_grad=True)
    strong = torch.tensor([[1.0, 0.0], [0.0, 5.0], [2.0, 1.0]], requires_grad=True)
    loss = fixmatch.consistency_loss(weak, strong, confidence=0.95)
    targets = functional.cross_entropy(strong[[0, 2]], torch.tensor([0, 1]), reduction="sum") / 3
    assert loss.item() == pytest.approx(targets.item())
    loss.backward()
    assert weak.grad is None
    assert strong.grad[1].abs().sum() == 0


def test_a_step_sees_labelled_weak_and_strong_images_together(tmp_path, monkeypatch):
    """On a network that stands still, the loss of an epoch is that of the formula."""
    settings = {"confidence": 0.5, "batch_ratio": 2, "loss_weight": 3.0, "augment": "cells"}
    train = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-12, "augment": "dihedral", "label_smoothing": 0.1}
    _, task = small_task(tmp_path, fixmatch=settings, train=train, model={"dropout": 0.0, "stochastic_depth": 0.0})
    expected, step = [], Trainer.step

    def spy(trainer, state, number, positions):
        unlabelled, labelled = trainer.sources
        assert (unlabelled.augment, labelled.augment) == ("cells", "dihedral")
        assert len(positions[1]) == 4
        loss = trainer.loss

        def checked(state, batch):
            known, weak, strong = batch.images(1), batch.images(0, augment="dihedral"), batch.images(0)
            assert not torch.allclose(weak, strong)
            logits = task.fresh_network("base").train()(torch.cat([known, weak, strong])).float()
            on_known, on_weak, on_strong = logits.split([len(known), len(weak), len(strong)])
            p, target = on_weak.softmax(1).max(1)
            unsupervised = functional.cross_entropy(on_strong, target, reduction="none")[p >= 0.5].sum() / len(p)
            supervised = functional.cross_entropy(on_known, batch.targets(1), label_smoothing=0.1)
            expected.append((supervised + 3 * unsupervised).item())
            return loss(state, batch)

        object.__setattr__(trainer, "loss", checked)
        step(trainer, state, number, positions)
        object.__setattr__(trainer, "loss", loss)
        assert state.counts[-1] == 4
        assert state.losses[-1].item() == pytest.approx(expected[-1], rel=1e-4)

    monkeypatch.setattr(Trainer, "step", spy)
    trained = fixmatch.train(task)
    assert len(expected) == pytest.approx(len(task.fold.unlabelled) / 8, abs=1)
    assert [epoch.model for epoch in trained.models[0].history] == ["base"]
