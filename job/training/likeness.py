"""What the training images of a fold are like, so that a picture unlike them can be told apart later."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits
from torch import nn

from job.contracts.split import Rows
from job.inference import appearance
from job.inference.features import Distance, features_of
from job.inference.pixels import Normalise
from job.training.task import Task

MOST = 2000  # images of each kind that are looked at
AXES = 64  # principal components of the features
USUAL = 0.995  # share of validation images, which the network did not learn from, that count as usual


def of_pixels(task: Task) -> dict[str, list[float]]:
    """The range of each fact of the fold's labelled images, see `appearance`."""
    return appearance.ranges(task.context.store.pixels[_some(task.fold.train.rows)])


def of_features(task: Task, network: nn.Module, normalise: Normalise) -> dict[str, torch.Tensor]:
    """The parameters of `Distance` for the fold's final network."""
    context = replace(task.context, normalise=normalise)
    training, validation = (
        features_of(network, context, _some(rows)) for rows in (task.fold.train.rows, task.fold.validation.rows)
    )
    # Sums over another number of threads round differently.
    with threadpool_limits(task.params.train.threads):
        fitted = PCA(min(AXES, len(training) // 2), random_state=0).fit(training)
    least = np.finfo(np.float32).eps
    tensors = {
        "mean": _tensor(fitted.mean_),
        "axes": _tensor(fitted.components_.T),
        "variance": _tensor(np.maximum(fitted.explained_variance_, least)),
        "noise": _tensor(np.maximum(fitted.noise_variance_, least)),
        "usual": torch.ones(()),
    }
    distances = Distance(tensors)(torch.from_numpy(validation)).numpy()
    return tensors | {"usual": _tensor(np.maximum(np.quantile(distances, USUAL), least))}


def _some(rows: Rows) -> Rows:
    """At most `MOST` of these rows, evenly over them and in order."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int)])


def _tensor(values: npt.ArrayLike) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
