"""Digests of everything that a run depends on: for `model.json`, and to use a saved state for the same run only."""

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
    """The sections of `params.yaml` that a fold of this method depends on, by name."""
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
    """SHA-256 over the modules that `code` lists: their paths and contents."""
    digest = hashlib.sha256()
    for path in code(method):
        digest.update(path.as_posix().encode() + b"\0" + (_root() / path).read_bytes() + b"\0")
    return digest.hexdigest()


def code(method: str) -> list[Path]:
    """Modules that can change a fold of this method, relative to the root of the repository.

    They are those that DVC tracks for it: a test compares them with `deps` of the stage.
    """
    root = _root()
    rooms = ("contracts", "models", "inference", "training")
    named = ("stages/train.py", "methods/task.py", f"methods/{method}.py", "files.py", "seeds.py", "temperature.py")
    modules = {path for room in rooms for path in (root / "job" / room).glob("*.py")}
    modules |= {root / "job" / name for name in named}
    return sorted(path.relative_to(root) for path in modules if path.name != "__init__.py")


def run_digest(params: Params, method: str, fold: int, device: torch.device, data: str) -> str:
    """SHA-256 of parameters, data, code, and the kind of arithmetic of this machine."""
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
