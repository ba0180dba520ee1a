"""Linear probe: a logistic regression on the features of a pretrained network, which does not learn.

Every image goes through the network once; the regression is fitted to the pooled and standardised features, and its
coefficients become the network's classification layer. It takes seconds, and is the least that other methods must beat.
With `train.augment` the regression is fitted to each image as it is and to `VERSIONS - 1` augmented versions.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from job.contracts.split import Rows
from job.inference.predict import classifier, features_of
from job.seeds import derive
from job.training.augment import augmented
from job.training.history import Epoch, Fitted, Trained, snapshot
from job.training.task import Task

VERSIONS = 8


def train(task: Task) -> Trained:
    """Fit the classification layer of one network to the fold's labelled images."""
    network = task.fresh_network("probe").eval()
    settings, labelled, validation = task.params.train, task.fold.train, task.fold.validation
    versions = 1 if settings.augment == "none" else VERSIONS
    task.progress.model("probe", len(labelled.rows) * versions)
    parts = [features(task, network, labelled.rows, version) for version in range(versions)]
    task.progress.images(len(labelled.rows) * versions)
    inputs = [np.concatenate(parts), features(task, network, validation.rows)]
    classes = [np.tile(labelled.classes, versions), validation.classes]
    scaler = StandardScaler().fit(inputs[0])
    inputs = [scaler.transform(part) for part in inputs]
    regression = LogisticRegression(
        C=task.params.linear_probe.c,
        class_weight=None if settings.class_weights == "none" else "balanced",
        max_iter=10_000,
    )
    # Sums over another number of threads round differently.
    with threadpool_limits(settings.threads):
        regression.fit(inputs[0], classes[0])
        log_p = [regression.predict_log_proba(part) for part in inputs]
    _install(classifier(network), regression, scaler)
    figures = [_figures(*part) for part in zip(log_p, classes, strict=True)]
    epoch = Epoch("probe", 1, 0.0, *figures[0], *figures[1])
    task.progress.epoch(epoch)
    return Trained([Fitted(snapshot(network), epoch, [epoch])])


def features(task: Task, network: nn.Module, rows: Rows, version: int = 0) -> npt.NDArray[np.float64]:
    """Features of these images, (N,) rows, as they are in version 0, and augmented anew in every other: (N, D)."""
    settings, seed = task.params.train, task.seed("noise", version)
    policy = settings.augment if version else "none"

    def change(batch: int) -> Callable[[torch.Tensor], torch.Tensor]:
        draws = derive(seed, "batch", batch)
        return partial(augmented, policy=policy, magnitude=settings.magnitude, seed=draws)

    return features_of(network, task.context, rows, change)


def _install(layer: nn.Linear, regression: LogisticRegression, scaler: StandardScaler) -> None:
    """Coefficients on standardised features, as weights and biases on the features themselves."""
    weights, bias = regression.coef_ / scaler.scale_, regression.intercept_
    if len(weights) == 1:
        # Of two classes the regression describes the difference of logits; each class gets a half of it.
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    bias = bias - weights @ scaler.mean_
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.copy_(torch.from_numpy(bias))


def _figures(log_p: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of logarithms of probabilities, (N, C), for class numbers, (N,)."""
    correct = log_p.argmax(1) == classes
    return float(-log_p[np.arange(len(classes)), classes].mean()), float(correct.mean())
