"""A finished run folder, as whoever uses its networks reads it."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from job.files import read_json
from job.models.fusion import fuse_batch_norm
from job.models.network import build, normalisation

WEIGHTS = "model.safetensors"


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
    """The network that these facts describe, with these weights, on the device, for prediction alone."""
    network = build(
        facts["backbone"], classes=len(facts["classes"]), size=facts["size"], dropout=0.0, stochastic_depth=0.0,
        seed=0,
    )  # fmt: skip
    state: dict[str, torch.Tensor] = load_file(path)
    network.load_state_dict(state)
    return fuse_batch_norm(network.eval()).to(device)
