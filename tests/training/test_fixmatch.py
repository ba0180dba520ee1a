"""The loss of FixMatch as it is written in the paper."""

import pytest
import torch
from torch.nn import functional

from job.methods import fixmatch
from job.seeds import derive
from job.training.batch import Batch, consistency_loss, steps
from job.training.parallel import ALONE
from tests.training.test_methods import small_task


def test_only_confident_images_count_and_only_strong_views_learn():
    weak = torch.tensor([[4.0, 0.0], [0.1, 0.0], [0.0, 5.0]], requires_grad=True)
    strong = torch.tensor([[1.0, 0.0], [0.0, 5.0], [2.0, 1.0]], requires_grad=True)
    loss = consistency_loss(weak, strong, confidence=0.95, hard=True)
    targets = functional.cross_entropy(strong[[0, 2]], torch.tensor([0, 1]), reduction="sum") / 3
    assert loss.item() == pytest.approx(targets.item())
    loss.backward()
    assert weak.grad is None
    assert strong.grad[1].abs().sum() == 0


def test_the_loss_is_the_written_sum(tmp_path):
    """On a network that stands still, with all images in one step: the first epoch's loss is that of the formula."""
    settings = {"confidence": 0.5, "batch_ratio": 5, "loss_weight": 3.0, "augment": "cells"}
    train = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-12, "augment": "dihedral", "label_smoothing": 0.1}
    _, task = small_task(tmp_path, fixmatch=settings, train=train, model={"dropout": 0.0, "stochastic_depth": 0.0})
    sources = [task.unlabelled(40, "cells"), task.labelled()]
    seed = task.seed("fit", "base")
    (step,) = steps(sources, 1, seed)
    batch = Batch(task.context, sources, step, 9, derive(seed, "augment", 1, 0), ALONE)
    views = [batch.images(1), batch.images(0, augment="dihedral"), batch.images(0)]
    logits = task.fresh_network("base").train()(torch.cat(views))
    labelled, weak, strong = logits.split([len(view) for view in views])
    p, target = weak.softmax(1).max(1)
    unsupervised = functional.cross_entropy(strong, target, reduction="none")[p >= 0.5].sum() / len(p)
    expected = functional.cross_entropy(labelled, batch.targets(1), label_smoothing=0.1) + 3 * unsupervised
    (model,) = fixmatch.train(task).models
    assert model.history[0].train_loss == pytest.approx(expected.item(), rel=1e-5)
    assert not torch.allclose(views[1], views[2])
