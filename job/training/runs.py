"""A run folder: the weights, what is needed to use them, the history, and for self-training every iteration.

Nothing that a clock or a machine decides is written here.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save

from job.files import read_json, write_json
from job.models.network import build, normalisation
from job.params import Params
from job.training import identity
from job.training.fold import Split
from job.training.history import State
from job.training.task import PseudoLabels, Trained

WEIGHTS = "model.safetensors"


def write(folder: Path, trained: Trained, *, method: str, fold: int, classes: tuple[str, ...], size: int,
          labels: str, split: Split, params: Params, device: str, precision: str, data: str,
          synthetic: bool) -> None:  # fmt: skip
    """Write a run into an existing empty folder."""
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
            "size": size,
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
            "synthetic": synthetic,
            "code_sha256": identity.code_digest(method),
            "parameters": identity.parameters(params, method),
        },
    )


def _write_pseudo_labels(path: Path, pseudo: PseudoLabels, classes: tuple[str, ...], split: Split) -> None:
    table = pd.DataFrame(pseudo.probabilities, columns=[f"p_{name}" for name in classes])
    table.insert(0, "image", split.images(pseudo.rows))
    table["label"] = np.asarray(classes)[pseudo.probabilities.argmax(1)]
    table["confidence"] = pseudo.confidence
    table["times"] = pseudo.times
    table.to_csv(path, index=False, lineterminator="\n")


def read_facts(folder: Path) -> dict[str, Any]:
    """`model.json`."""
    facts: dict[str, Any] = read_json(folder / "model.json")
    return facts


def iterations(folder: Path) -> dict[int, Path]:
    """Weights files of a run by iteration; a method that does not iterate has iteration 0 alone."""
    parts = sorted((folder / "iterations").glob("*"), key=lambda path: int(path.name))
    return {int(path.name): path / WEIGHTS for path in parts} or {0: folder / WEIGHTS}


def of_iteration(facts: dict[str, Any], iteration: int) -> dict[str, Any]:
    """The facts of one model of a run: a teacher may be another network than its students."""
    backbone = facts["backbones"][iteration]
    mean, std = normalisation(backbone)
    return facts | {"backbone": backbone, "mean": mean, "std": std}


def load_network(facts: dict[str, Any], path: Path, device: torch.device) -> torch.nn.Module:
    """The network that these facts describe, with these weights, in evaluation mode on the device."""
    network = build(
        facts["backbone"], classes=len(facts["classes"]), size=facts["size"], dropout=0.0, stochastic_depth=0.0,
        seed=0,
    )  # fmt: skip
    state: State = load_file(path)
    network.load_state_dict(state)
    return network.to(device).eval()
