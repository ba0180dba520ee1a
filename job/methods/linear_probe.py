"""A pretrained network whose layers stay as they are, and a logistic regression on what they say: the least to beat.

Every image goes through the network once; the regression sees the pooled features, standardised, and its coefficients
become the network's classification layer. Minutes of training become seconds, and the run is a run like any other. With
`train.augment` it sees each image as it is and in `VERSIONS - 1` noisy versions.
"""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from job.contracts.split import Fold, Rows
from job.inference.context import Context
from job.inference.pixels import in_batches
from job.inference.predict import EVALUATION_BATCH
from job.methods.task import Task
from job.params import Params
from job.seeds import derive
from job.training.history import Epoch, Fitted, Trained, snapshot

VERSIONS = 8


def labels(params: Params) -> str:
    """All training labels, or the labelled half."""
    return params.linear_probe.labels


def images(fold: Fold, params: Params) -> int:
    """Every image with a label, in each of its versions."""
    return len(fold.train.rows) * versions(params)


def versions(params: Params) -> int:
    """Versions of each image that the regression sees."""
    return 1 if params.train.augment == "none" else VERSIONS


def train(task: Task) -> Trained:
    """Fit the classification layer of one network to the fold's labelled images."""
    network = task.fresh_network("probe").eval()
    train, validation = task.fold.train, task.fold.validation
    known, unseen = (features(network, task.bench, part.rows) for part in (train, validation))
    noise, count = task.params.train.augment, versions(task.params)
    seen = [known]
    for number in range(1, count):
        draws = task.seed("noise", number)
        seen.append(features(network, task.bench, train.rows, noise, task.params.train.magnitude, draws))
    known, classes = np.concatenate(seen), np.tile(train.classes, count)
    task.progress.images(len(known))
    scaler = StandardScaler().fit(known)
    known, unseen = scaler.transform(known), scaler.transform(unseen)
    regression = LogisticRegression(
        C=task.params.linear_probe.c,
        class_weight=None if task.params.train.class_weights == "none" else "balanced",
        max_iter=10_000,
    )
    # Sums over another number of threads round differently.
    with threadpool_limits(task.params.train.threads):
        regression.fit(known, classes)
        said = [regression.predict_log_proba(part) for part in (known, unseen)]
    _install(classifier(network), regression, scaler)
    scores = [_scores(*part) for part in zip(said, (classes, validation.classes), strict=True)]
    epoch = Epoch("probe", 1, 0.0, *scores[0], *scores[1])
    task.progress.epoch(epoch)
    return Trained([Fitted(snapshot(network), epoch, [epoch])])


def classifier(network: nn.Module) -> nn.Linear:
    """The last layer, which turns pooled features into classes."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def features(
    network: nn.Module, bench: Context, rows: Rows, noise: str = "none", magnitude: int = 0, seed: int = 0
) -> npt.NDArray[np.float64]:
    """What the classification layer is given for these images, in evaluation mode: (N, D).

    Args:
        network: whose layers stay as they are.
        bench: pixels and device.
        rows: the images.
        noise: policy of `job.inference.augment`.
        magnitude: of RandAugment.
        seed: of the noise.
    """
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        seen.append(inputs[0].double().cpu())

    handle = classifier(network).register_forward_pre_hook(keep)
    network.eval()
    with torch.inference_mode(), bench.autocast():
        for number, batch in enumerate(in_batches(rows, EVALUATION_BATCH)):
            network(bench.images(batch, noise, magnitude, derive(seed, "batch", number)))
    handle.remove()
    return torch.cat(seen).numpy()


def _install(layer: nn.Linear, regression: LogisticRegression, scaler: StandardScaler) -> None:
    """Coefficients on standardised features, as weights and biases on the features themselves."""
    weights, bias = regression.coef_ / scaler.scale_, regression.intercept_
    if len(weights) == 1:
        # Of two classes the regression describes the difference; each gets a half of it.
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    bias = bias - weights @ scaler.mean_
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.copy_(torch.from_numpy(bias))


def _scores(log_p: npt.NDArray[np.float64], classes: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    right = log_p.argmax(1) == classes
    return float(-log_p[np.arange(len(classes)), classes].mean()), float(right.mean())
