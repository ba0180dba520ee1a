"""An ensemble as one ONNX file, used without torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

from job.commands.scoring import Facts
from job.data.images import Pixels
from job.errors import UserError

KEY = "leukaemia-job"
"""Under which the file carries the facts of its ensemble."""


class OnnxEnsemble:
    """The file that `python -m job export` wrote."""

    most_pixels = 400_000

    def __init__(self, path: Path) -> None:
        """Load it.

        Raises:
            UserError: there is no such file, or it is another kind of file.
        """
        if not path.is_file():
            raise UserError(f"{path} does not exist: `python -m job export --out {path}` writes it")
        try:
            # CUDA where onnxruntime-gpu is installed, and the CPU otherwise.
            self.session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
            self.facts = unpack(self.session.get_modelmeta().custom_metadata_map[KEY])
        except (KeyError, Fail, InvalidGraph, InvalidProtobuf) as error:
            raise UserError(f"{path} is not an ensemble that `python -m job export` wrote ({error})") from None

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Of every member: (members, B, classes), from (B, S, S, 3) pixels."""
        result: npt.NDArray[np.float32] = self.session.run(None, {"pixels": pixels})[0]
        return result


def pack(facts: Facts) -> str:
    """The facts as text."""
    return json.dumps(asdict(facts), ensure_ascii=False)


def unpack(text: str) -> Facts:
    """The facts from that text."""
    values: dict[str, Any] = json.loads(text)
    return Facts(**(values | {name: tuple(values[name]) for name in ("members", "classes")}))
