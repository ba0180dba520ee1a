"""An ensemble as one ONNX file, used without torch."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

# Before the import: else ONNX Runtime writes an identifier into the home folder and reports its use to its maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf

from job.data.images import Pixels
from job.ensemble.scoring import Manifest
from job.errors import UserError
from job.files import sha256

KEY = "leukaemia-job"
"""The key under which the file carries the manifest of its ensemble, as JSON."""


class OnnxEnsemble:
    """The file that `python -m job export` wrote."""

    most_pixels = 400_000

    def __init__(self, path: Path, digest: str | None = None, device: str = "auto") -> None:
        """Load it for `auto`, `cpu` or `cuda`; CUDA needs onnxruntime-gpu.

        A UserError says that there is no such file or device, that it has another SHA-256, or is another kind of file.
        """
        if not path.is_file():
            raise UserError(f"{path} does not exist: `python -m job export --out {path}` writes it")
        self.digest = sha256(path)
        if digest and digest.strip().lower() != self.digest:
            raise UserError(f"{path} has the SHA-256 {self.digest} and not {digest}: fetch it again, or do not use it")
        cuda = "CUDAExecutionProvider"
        # By default it would multiply with 10 bits of mantissa.
        gpu = [(cuda, {"use_tf32": 0})] if device != "cpu" and cuda in onnxruntime.get_available_providers() else []
        try:
            self.session = onnxruntime.InferenceSession(path, providers=[*gpu, "CPUExecutionProvider"])
            self.manifest = Manifest(**json.loads(self.session.get_modelmeta().custom_metadata_map[KEY]))
        except (KeyError, TypeError, Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
            raise UserError(
                f"{path} is not an ensemble that `python -m job export` wrote, or an older one ({error})"
            ) from None
        # Without its libraries it falls back to the CPU, and says so in its log alone.
        if device == "cuda" and cuda not in self.session.get_providers():
            raise UserError("--device cuda: ONNX Runtime finds no CUDA: install onnxruntime-gpu, or use auto or cpu")

    def judge(self, pixels: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As `Ensemble` says, for images of shape (B, S, S, 3)."""
        probabilities, distances = self.session.run(None, {"pixels": pixels})
        return probabilities, distances
