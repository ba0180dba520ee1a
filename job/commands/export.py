"""`python -m job export`: the ensemble as one ONNX file, checked against torch before it is kept."""

import copy
import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from job.commands import machine
from job.commands.predict import operating_points
from job.contracts.paths import EVALUATION, PIXELS
from job.data.images import Pixels
from job.ensemble.networks import Member, TorchEnsemble
from job.ensemble.onnx_file import KEY, OnnxEnsemble
from job.errors import UserError
from job.files import existing, replacing

TOLERANCE = 1e-4
CHECKED, BATCHES = 64, 8  # images that both forms judge, in this many batches


class Together(nn.Module):
    """Every member on the same pixels: (B, S, S, 3) uint8 to what `Ensemble.judge` returns."""

    def __init__(self, members: list[Member]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities and distances of each member, in the order of the folds."""
        probabilities, distances = zip(*(member(pixels) for member in self.members), strict=True)
        return torch.stack(probabilities), torch.stack(distances)


def run(model: str, out: Path) -> str:
    """Write `out`, if it computes what torch computes; a sentence with the largest difference from torch."""
    machine.check_file(out)
    machine.check_replaced(out, rb"\x08")  # the first field of ONNX, the version of its form
    ensemble = TorchEnsemble(model)
    batches = np.array_split(_some_images(ensemble.manifest.size), BATCHES)
    expected = [_exact(ensemble, batch) for batch in batches]
    with replacing(out) as temporary:
        _write(ensemble, temporary)
        exported = OnnxEnsemble(temporary)
        judged = [exported.judge(batch) for batch in batches]
        difference = np.max([np.abs(found - exact).max() for (found, _), exact in zip(judged, expected, strict=True)])
        if not difference <= TOLERANCE:  # nor where it is no number
            raise UserError(f"{out} is not kept: its probabilities differ from torch's by up to {difference:.1e}")
        far = [ensemble.judge(batch)[1] for batch in batches]
        if not all(np.allclose(found, exact, rtol=0.01) for (_, found), exact in zip(judged, far, strict=True)):
            raise UserError(f"{out} is not kept: its distances from the training images are not torch's")
    return (
        f"{out}: {len(ensemble.manifest.members)} networks in {out.stat().st_size / 2**20:.0f} MiB; on "
        f"{sum(map(len, batches))} prepared images no probability is off by more than {difference:.1e}; "
        f"SHA-256 {exported.digest}"
    )


@torch.inference_mode()
def _exact(ensemble: TorchEnsemble, pixels: Pixels) -> npt.NDArray[np.float64]:
    """Probabilities of torch in double precision.

    In single precision both forms round, and torch's own error reaches 1e-4 with networks of a few epochs: two errors
    would be compared, and not the file with what it should compute.
    """
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    means = []
    for member in ensemble.members:
        network = copy.deepcopy(member.network).double()
        views = member.views(member.normalise(batch).double())
        means.append(torch.stack([network(view).softmax(1) for view in views]).mean(0))
    return np.asarray(torch.stack(means).numpy())


def _some_images(size: int) -> Pixels:
    """Prepared images, evenly over the store."""
    store = np.load(existing(PIXELS), mmap_mode="r")
    if store.shape[1] != size:
        raise UserError(f"data/prepared holds images of {store.shape[1]} px, the networks see {size}: run `dvc repro`")
    chosen = np.linspace(0, len(store) - 1, min(CHECKED, len(store))).astype(int)
    return np.ascontiguousarray(store[chosen])


def _write(ensemble: TorchEnsemble, path: Path) -> None:
    together = Together(ensemble.members).eval()
    size = ensemble.manifest.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns of its own internals.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            together, (example,), input_names=["pixels"], output_names=["probabilities", "distances"],
            dynamic_shapes=({0: torch.export.Dim("images")},), dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    points = operating_points(ensemble.manifest.method) if EVALUATION.is_file() else {}
    manifest = asdict(ensemble.manifest) | {"points": points}
    onnx.helper.set_model_props(model, {KEY: json.dumps(manifest, ensure_ascii=False)})
    path.write_bytes(model.SerializeToString())
