"""FixMatch (Sohn et al. 2020, arXiv:2001.07685): confident predictions for plain images are labels of augmented ones.

One network learns from labelled and unlabelled images together. For each unlabelled image it predicts a weakly
augmented view (policy `train.augment`, as for labelled images); where the most probable class has at least probability
`fixmatch.confidence`, that class is the target of a strongly augmented view (policy `fixmatch.augment`). The loss is

    cross-entropy of the labelled images + loss_weight * mean over unlabelled images of [confident] * cross-entropy.
"""

import torch

from job.training.batch import Batch, consistency_loss
from job.training.fit import Trainer
from job.training.history import Trained
from job.training.state import TrainState
from job.training.task import Task


def train(task: Task) -> Trained:
    """Train one network; an epoch is one pass over the unlabelled images."""
    settings, params = task.params.fixmatch, task.params.train
    unlabelled = task.unlabelled(params.batch_size * settings.batch_ratio, settings.augment)

    def loss(state: TrainState, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        views = batch.images(1), batch.images(0, augment=params.augment), batch.images(0)
        labelled, weak, strong = state.forward(*views)
        unsupervised = consistency_loss(weak, strong, confidence=settings.confidence, hard=True) * batch.portion(0)
        return batch.supervised(1, labelled) + settings.loss_weight * unsupervised, batch.correct(1, labelled)

    return Trained([Trainer(task, "base", [unlabelled, task.labelled()], loss).fit(task.fresh_network("base"))])
