"""Write a run folder: weights, what is needed to use them, history, and for self-training every iteration.

Beside them stands what the training images are like, so that a picture unlike them can be told apart later. Nothing
that a clock or a machine decides is written here.
"""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors.torch import save
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits
from torch import nn

from job.contracts.split import Rows, Split
from job.files import write_json
from job.inference import appearance
from job.inference.pixels import Context
from job.inference.predict import Distance, features_of
from job.inference.runs import FACTS, LIKENESS, WEIGHTS, load_network, normalise
from job.training.history import PseudoLabels, Trained
from job.training.identity import parameters
from job.training.task import Task

MOST = 2000  # images of each kind that are looked at
AXES = 64  # principal components of the features
USUAL = 0.995  # share of validation images, which the network did not learn from, that count as usual


def write(
    folder: Path, trained: Trained, task: Task, *, method: str, prepared: dict[str, Any], labels: str, split: Split
) -> None:
    """Write a run into an existing empty folder.

    `prepared`, `data/prepared/summary.json`, says how a file becomes the input of the networks; `labels` which training
    labels the method saw, `all` or `half`; `split` names the images of pseudo-labels.
    """
    weights = save(trained.models[-1].state)
    (folder / WEIGHTS).write_bytes(weights)
    history = [asdict(epoch) for fitted in trained.models for epoch in fitted.history]
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False, lineterminator="\n")
    if len(trained.models) > 1:
        for iteration, fitted in enumerate(trained.models):
            part = folder / "iterations" / str(iteration)
            part.mkdir(parents=True)
            (part / WEIGHTS).write_bytes(save(fitted.state))
            if iteration in trained.pseudo_labels:
                _write_pseudo_labels(part / "pseudo_labels.csv", trained.pseudo_labels[iteration], task.classes, split)
    facts = {
        "method": method,
        "fold": task.fold.number,
        "backbones": trained.backbones or [task.params.model.backbone] * len(trained.models),
        "classes": task.classes,
        **{key: prepared[key] for key in ("size", "crop", "center", "synthetic")},
        "labels": labels,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "threads": task.params.train.threads,
        "likeness": appearance.ranges(appearance.thinned(task.context.store.pixels)[_some(task.fold.train.rows)]),
        # So that weights which left the repository still say how they were made.
        "parameters": parameters(task.params, method),
    }
    write_json(folder / FACTS, facts)
    context = replace(task.context, normalise=normalise(facts, task.context.device))
    network = load_network(facts, folder / WEIGHTS, context.device)
    (folder / LIKENESS).write_bytes(save(likeness(network, context, task)))


def _write_pseudo_labels(path: Path, pseudo: PseudoLabels, classes: tuple[str, ...], split: Split) -> None:
    table = pd.DataFrame(pseudo.probabilities, columns=[f"p_{name}" for name in classes])
    table.insert(0, "image", split.names(pseudo.rows))
    predicted = np.asarray(classes)[pseudo.probabilities.argmax(1)]
    table = table.assign(label=predicted, confidence=pseudo.confidence, times=pseudo.times)
    table.to_csv(path, index=False, lineterminator="\n")


def likeness(network: nn.Module, context: Context, task: Task) -> dict[str, torch.Tensor]:
    """The parameters of `Distance` for the fold's final network, which is given images by this context."""
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
