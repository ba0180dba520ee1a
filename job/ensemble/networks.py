"""An ensemble of this repository with torch: the final networks of a method's folds."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import nn

from job.contracts import paths
from job.data.images import Pixels
from job.ensemble.scoring import Manifest
from job.errors import UserError
from job.files import read_json, sha256
from job.inference import appearance, runs, runtime
from job.inference.pixels import Normalise, views
from job.inference.predict import Distance, with_features
from job.params import load

CPU_PIXELS, GPU_PIXELS = 400_000, 4_000_000
"""Pixels of the batches that are computed at a time: with Lite0 they take some 400 MiB on a CPU."""

Result = TypeVar("Result")


class Member(nn.Module):
    """One network with its normalisation: (B, S, S, 3) uint8 to probabilities (B, classes) and distances (B,) float32.

    With `tta` probabilities are means over the eight views of an image, as the stage `predict` takes them. A distance
    is that of the image as it is from the training images, see `Distance`.
    """

    def __init__(self, network: nn.Module, distance: Distance, normalise: Normalise, *, tta: bool) -> None:
        super().__init__()
        self.network = network
        self.distance = distance
        self.normalise = normalise
        self.tta = tta

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Softmax in double precision, as in the stage `predict`."""
        images = self.normalise(pixels.permute(0, 3, 1, 2))
        first, features = with_features(self.network, images)
        logits = [first, *(self.network(view) for view in self.views(images)[1:])]
        probabilities = torch.stack([values.double().softmax(1) for values in logits]).mean(0).float()
        return probabilities, self.distance(features)

    def views(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The views of normalised images that the mean is over, first the images themselves: (B, 3, S, S) each."""
        return list(views(images)) if self.tta else [images]


class TorchEnsemble:
    """The networks of `ensembles/METHOD/ensemble.json`."""

    def __init__(self, method: str, device: str = "cpu") -> None:
        """Load the members for a device `auto`, `cpu` or `cuda`; a UserError where they are not what was evaluated."""
        described = _description(method)
        folds = [paths.run(method, member["fold"]) for member in described["members"]]
        for fold, member in zip(folds, described["members"], strict=True):
            _check(fold / runs.WEIGHTS, member["weights_sha256"])
        every = [read_json(fold / runs.FACTS) for fold in folds]
        facts = every[0]
        if "likeness" not in facts:
            raise UserError(f"{folds[0]} is of an older version of this code: run `dvc repro`")
        # The threads of training and evaluation: another number rounds differently. Members run side by side instead.
        params = load()
        train = params.train.model_copy(update={"device": device, "threads": facts["threads"]})
        self.device = runtime.setup(train, keep_memory=params.machine.keep_memory)
        self.manifest = Manifest(
            method=method,
            members=[member["fold"] for member in described["members"]],
            classes=described["classes"],
            **{key: facts[key] for key in ("size", "crop", "center")},
            synthetic=facts.get("synthetic", False),
            likeness=appearance.union([one["likeness"] for one in every]),
        )
        normalise = runs.normalise(facts, self.device)
        # Not predict.tta of today's parameters: what was evaluated is what predicts.
        tta = described["views"] > 1
        self.members = [
            Member(
                runs.load_network(own, fold / runs.WEIGHTS, self.device),
                Distance(load_file(fold / runs.LIKENESS)).to(self.device),
                normalise, tta=tta,
            ).eval()
            for fold, own in zip(folds, every, strict=True)
        ]  # fmt: skip
        on_cpu = self.device.type == "cpu"
        cores = len(os.sched_getaffinity(0)) // facts["threads"] if on_cpu else 1
        together = max(1, min(cores, len(self.members)))
        # Each of those that judge at a time has the activations of a batch in memory; a GPU has its own.
        self.most_pixels = CPU_PIXELS // together if on_cpu else GPU_PIXELS
        self._pool = ThreadPoolExecutor(together)

    def judge(self, pixels: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As `Ensemble` says, for images of shape (B, S, S, 3)."""
        batch = torch.from_numpy(pixels).to(self.device)

        @torch.inference_mode()
        def judge(member: Member) -> list[npt.NDArray[np.float32]]:
            return [part.cpu().numpy() for part in member(batch)]

        probabilities, distances = zip(*self.each(judge), strict=True)
        return np.stack(probabilities), np.stack(distances)

    def each(self, ask: Callable[[Member], Result]) -> list[Result]:
        """The result of `ask` for every member; on a CPU several are asked at a time."""
        return list(self._pool.map(ask, self.members))


def _description(method: str) -> dict[str, Any]:
    """The content of a method's `ensemble.json`."""
    file = paths.ensemble(method) / "ensemble.json"
    if not file.is_file():
        others = ", ".join(sorted(path.parent.name for path in file.parent.parent.glob("*/ensemble.json")))
        raise UserError(
            f"there is no ensemble of {method!r} here (there is: {others or 'none yet'}): name another with "
            "--model, run `dvc repro`, or fetch one with `dvc pull ensemble train`"
        )
    description: dict[str, Any] = read_json(file)
    if missing := {"members", "classes", "views", "temperature"} - description.keys():
        raise UserError(f"{file} is not of this version of the code (no {', '.join(sorted(missing))}): run `dvc repro`")
    return description


def _check(path: Path, expected: str) -> None:
    """Refuse weights that are missing or have another SHA-256 than those that were evaluated."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: run `dvc repro`, or fetch it with `dvc pull train`")
    if sha256(path) != expected:
        raise UserError(f"{path} is not the network that was evaluated: run `dvc repro`, which votes anew")
