"""Write a run folder: the weights, what is needed to use them, the history, and for self-training every iteration.

Nothing that a clock or a machine decides is written here.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import save

from job.contracts.split import Split
from job.files import write_json
from job.inference.runs import WEIGHTS
from job.models.network import normalisation
from job.params import Params
from job.training import identity
from job.training.history import PseudoLabels, Trained


def write(
    folder: Path, trained: Trained, *, method: str, fold: int, prepared: dict[str, Any], labels: str, split: Split,
    params: Params, device: str, precision: str, data: str,
) -> None:  # fmt: skip
    """Write a run into an existing empty folder.

    Args:
        folder: of the run.
        trained: the models.
        method: their method.
        fold: their fold.
        prepared: `data/prepared/summary.json`: classes, and how a file becomes the input of the networks.
        labels: which training labels the method saw, `all` or `half`.
        split: names the images of pseudo-labels.
        params: the whole of `params.yaml`.
        device: type of the device, such as `cpu`.
        precision: as it was resolved, such as `fp32`.
        data: digest of pixels, classes and split.
    """
    classes = tuple(prepared["classes"])
    final = trained.models[-1]
    weights = save(final.state)
    (folder / WEIGHTS).write_bytes(weights)
    history = [asdict(epoch) for fitted in trained.models for epoch in fitted.history]
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False, lineterminator="\n")
    if len(trained.models) > 1:
        for iteration, fitted in enumerate(trained.models):
            part = folder / "iterations" / str(iteration)
            part.mkdir(parents=True)
            (part / WEIGHTS).write_bytes(save(fitted.state))
            if iteration in trained.pseudo_labels:
                _write_pseudo_labels(part / "pseudo_labels.csv", trained.pseudo_labels[iteration], classes, split)
    backbones = trained.backbones or (params.model.backbone,) * len(trained.models)
    mean, std = normalisation(backbones[-1])
    write_json(
        folder / "model.json",
        {
            "method": method,
            "fold": fold,
            "backbone": backbones[-1],
            "backbones": backbones,
            "classes": list(classes),
            **{key: prepared[key] for key in ("size", "crop", "center", "synthetic")},
            "mean": mean,
            "std": std,
            "labels": labels,
            "models": len(trained.models),
            "best_epoch": final.best.epoch,
            "best_epochs": {fitted.best.model: fitted.best.epoch for fitted in trained.models},
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "device": device,
            "precision": precision,
            "threads": params.train.threads,
            "data_sha256": data,
            "code_sha256": identity.code_digest(method),
            "parameters": identity.parameters(params, method),
        },
    )


def _write_pseudo_labels(path: Path, pseudo: PseudoLabels, classes: tuple[str, ...], split: Split) -> None:
    table = pd.DataFrame(pseudo.probabilities, columns=[f"p_{name}" for name in classes])
    table.insert(0, "image", split.names(pseudo.rows))
    table["label"] = np.asarray(classes)[pseudo.probabilities.argmax(1)]
    table["confidence"] = pseudo.confidence
    table["times"] = pseudo.times
    table.to_csv(path, index=False, lineterminator="\n")
