"""`python -m job export`: the ensemble as one ONNX file, checked against torch before it is kept."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from job.commands.ensembles import Member, TorchEnsemble
from job.commands.onnx_file import KEY, OnnxEnsemble, pack
from job.data.images import Pixels
from job.errors import UserError
from job.files import existing, replacing
from job.models.network import Pointwise

TOLERANCE = 1e-4
CHECKED = 64
"""Images that both forms judge."""


class Together(nn.Module):
    """Every member on the same pixels: (B, S, S, 3) uint8 to probabilities (members, B, classes) float32."""

    def __init__(self, members: list[Member]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """In the order of the folds."""
        return torch.stack([member(pixels) for member in self.members])


def run(model: str, out: Path) -> str:
    """Write `out`; a sentence with the largest difference from torch.

    Raises:
        UserError: no such ensemble, or the file does not compute what torch computes.
    """
    ensemble = TorchEnsemble(model)
    pixels = _some_images(ensemble.facts.size)
    expected = ensemble.probabilities(pixels)
    with replacing(out) as temporary:
        _write(ensemble, temporary)
        difference = float(np.abs(OnnxEnsemble(temporary).probabilities(pixels) - expected).max())
        if difference > TOLERANCE:
            raise UserError(f"{out} is not kept: its probabilities differ from torch's by up to {difference:.1e}")
    size = out.stat().st_size / 2**20
    return (
        f"{out}: {len(ensemble.facts.members)} networks in {size:.0f} MiB; on {len(pixels)} prepared images no "
        f"probability differs from torch's by more than {difference:.1e}"
    )


def _some_images(size: int) -> Pixels:
    """Prepared images, evenly over the store."""
    store = np.load(existing(Path("data/prepared/images.npy")), mmap_mode="r")
    if store.shape[1] != size:
        raise UserError(f"data/prepared holds images of {store.shape[1]} px, the networks see {size}: run `dvc repro`")
    chosen = np.linspace(0, len(store) - 1, min(CHECKED, len(store))).astype(int)
    return np.ascontiguousarray(store[chosen])


def _write(ensemble: TorchEnsemble, path: Path) -> None:
    together = Together(ensemble.members).eval()
    for module in together.modules():
        if isinstance(module, Pointwise):
            # Its matrix product is torch's way to be quick on a CPU; ONNX runtimes are quickest with the convolution.
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    size = ensemble.facts.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns of its own internals.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            together, (example,), input_names=["pixels"], output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("images")},), dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {KEY: pack(ensemble.facts)})
    path.write_bytes(model.SerializeToString())
