"""The digest of everything that a run depends on, so that a saved state is used for the same run only."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

import job
from job.params import Params

_ROOT = Path(job.__file__).parent.parent


def parameters(params: Params, method: str) -> dict[str, Any]:
    """The sections of `params.yaml` that a fold of this method depends on, by name."""
    return {
        "model": params.model.model_dump(),
        "train": params.train.model_dump(),
        method: getattr(params, method).model_dump(),
    }


def code(method: str) -> list[Path]:
    """Modules that can change a fold of this method, relative to the root of the repository.

    They are those that DVC tracks for it: a test compares them with `deps` of the stage.
    """
    rooms = ("contracts", "models", "inference", "training")
    named = ("stages/train.py", f"methods/{method}.py", "files.py", "seeds.py", "temperature.py")
    modules = {path for room in rooms for path in (_ROOT / "job" / room).glob("*.py")}
    modules |= {_ROOT / "job" / name for name in named}
    return sorted(path.relative_to(_ROOT) for path in modules if path.name != "__init__.py")


def run_digest(params: Params, method: str, fold: int, device: torch.device, data: str) -> str:
    """SHA-256 of parameters, `data` (the digests of its files), code, and the kind of arithmetic of this machine."""
    cpu = torch.backends.cpu.get_cpu_capability()
    facts = {
        "parameters": parameters(params, method),
        "fold": fold,
        "data": data,
        "code": {path.as_posix(): (_ROOT / path).read_text(encoding="utf-8") for path in code(method)},
        "torch": torch.__version__,
        "arithmetic": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
