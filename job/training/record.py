"""Write a run folder: weights, what is needed to use them, history, and for self-training every iteration.

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
from job.inference.runs import FACTS, LIKENESS, WEIGHTS, load_network, normalise
from job.training import likeness
from job.training.history import PseudoLabels, Trained
from job.training.identity import parameters
from job.training.task import Task


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
        "likeness": likeness.of_pixels(task),
        # So that weights which left the repository still say how they were made.
        "parameters": parameters(task.params, method),
    }
    write_json(folder / FACTS, facts)
    device = task.context.device
    network = load_network(facts, folder / WEIGHTS, device)
    (folder / LIKENESS).write_bytes(save(likeness.of_features(task, network, normalise(facts, device))))


def _write_pseudo_labels(path: Path, pseudo: PseudoLabels, classes: tuple[str, ...], split: Split) -> None:
    table = pd.DataFrame(pseudo.probabilities, columns=[f"p_{name}" for name in classes])
    table.insert(0, "image", split.names(pseudo.rows))
    predicted = np.asarray(classes)[pseudo.probabilities.argmax(1)]
    table = table.assign(label=predicted, confidence=pseudo.confidence, times=pseudo.times)
    table.to_csv(path, index=False, lineterminator="\n")
