"""What a result depends on, as digests: for `model.json`, and so that a saved state is used for its own run only."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

import job
from job.files import existing
from job.params import Params

# When a state is saved, and whether freed memory is kept, decides nothing about the result.
_NO_RESULT = {"save_every_seconds", "keep_memory"}


def parameters(params: Params, method: str) -> dict[str, Any]:
    """The parameters that a fold of this method depends on."""
    return {
        "data": params.data.model_dump(exclude={"root", "max_rejected"}),
        "model": params.model.model_dump(),
        "train": params.train.model_dump(exclude=_NO_RESULT),
        method: getattr(params, method).model_dump(),
    }


def data_digest() -> str:
    """SHA-256 over the digests of the pixels, the class names and the split."""
    digest = hashlib.sha256()
    for path in ("data/prepared/images.npy", "data/prepared/summary.json", "data/split.csv"):
        with existing(Path(path)).open("rb") as handle:
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
    rooms = [*(root / "job/models").glob("*.py"), *(root / "job/training").glob("*.py")]
    named = ("job/stages/train.py", f"job/training/methods/{method}.py", "job/files.py", "job/seeds.py")
    unseen = {root / "job/training" / name for name in ("progress.py", "activation.py")}
    found = {*rooms} - unseen | {root / name for name in named}
    return sorted(path.relative_to(root) for path in found if path.name != "__init__.py")


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
