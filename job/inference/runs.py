"""A finished run folder, as whoever uses its networks reads it."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from job.errors import UserError
from job.files import REMEDY, existing
from job.inference.pixels import Normalise
from job.models.network import build, fuse_batch_norm, normalisation

WEIGHTS, FACTS, LIKENESS = "model.safetensors", "model.json", "likeness.safetensors"


def iterations(folder: Path) -> dict[int, Path]:
    """Weights files of a run by iteration; a method that does not iterate has iteration 0 alone."""
    parts = sorted((folder / "iterations").glob("*"), key=lambda path: int(path.name))
    return {int(path.name): path / WEIGHTS for path in parts} or {0: folder / WEIGHTS}


def normalise(facts: dict[str, Any], device: torch.device, iteration: int = -1) -> Normalise:
    """What the inputs of a run's final model, or of that of an iteration, pass first."""
    return Normalise.of(*normalisation(facts["backbones"][iteration]), device)


def load_network(facts: dict[str, Any], path: Path, device: torch.device, iteration: int = -1) -> torch.nn.Module:
    """A run's final network, or that of an iteration, with these weights, on the device, for prediction alone.

    A teacher may be another network than its students.
    """
    backbone, classes = facts["backbones"][iteration], len(facts["classes"])
    network = build(backbone, classes=classes, size=facts["size"], dropout=0.0, stochastic_depth=0.0, seed=0)
    try:
        network.load_state_dict(load_file(existing(path)))
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): {REMEDY}") from None
    return fuse_batch_norm(network.eval()).to(device)
