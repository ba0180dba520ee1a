"""What a result depends on, as digests: for `model.json`, and so that a saved state is used for its own run only."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

import job
from job.contracts import paths
from job.files import existing
from job.params import Params


def parameters(params: Params, method: str) -> dict[str, Any]:
    """The parameters that a fold of this method depends on."""
    return {
        "model": params.model.model_dump(),
        "train": params.train.model_dump(),
        method: getattr(params, method).model_dump(),
    }


def data_digest() -> str:
    """SHA-256 over the digests of the pixels, the class names and the split."""
    digest = hashlib.sha256()
    for path in (paths.PIXELS, paths.SUMMARY, paths.SPLIT):
        with existing(path).open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def code_digest(method: str) -> str:
    """SHA-256 over the modules that can change a fold of this method: those that DVC tracks for it."""
    digest = hashlib.sha256()
    for path in code(method):
        digest.update(path.as_posix().encode() + b"\0" + (_root() / path).read_bytes() + b"\0")
    return digest.hexdigest()


def code(method: str) -> list[Path]:
    """Those modules, relative to the root of the repository. A test compares them with `deps` of the stage."""
    root = _root()
    rooms = ("contracts", "models", "inference", "training")
    named = ("stages/train.py", "methods/task.py", f"methods/{method}.py", "files.py", "seeds.py", "temperature.py")
    modules = {path for room in rooms for path in (root / "job" / room).glob("*.py")}
    modules |= {root / "job" / name for name in named}
    return sorted(path.relative_to(root) for path in modules if path.name != "__init__.py")


def run_digest(params: Params, method: str, fold: int, device: torch.device, data: str) -> str:
    """One digest of parameters, data, code, and the arithmetic of this machine."""
    cpu = torch.backends.cpu.get_cpu_capability()
    facts = {
        "parameters": parameters(params, method),
        "fold": fold,
        "data": data,
        "code": code_digest(method),
        "torch": torch.__version__,
        "arithmetic": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _root() -> Path:
    return Path(job.__file__).parent.parent
