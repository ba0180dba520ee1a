"""All that a run depends on, so that a saved state is used for the same run only, and no run lies about itself."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import job
from job.contracts import paths
from job.errors import UserError
from job.files import sha256
from job.params import Params, load

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


def facts(params: Params, method: str, device: torch.device) -> dict[str, Any]:
    """By name every parameter, module and data file, as they are now, and the kind of arithmetic of this machine."""
    sections = parameters(params, method).items()
    return {
        **{f"{section}.{key}": value for section, values in sections for key, value in values.items()},
        **{path.as_posix(): sha256(_ROOT / path) for path in code(method)},
        **{path.as_posix(): sha256(path) for path in (paths.PIXELS, paths.SUMMARY, paths.SPLIT)},
        **{package: metadata.version(package) for package in ("torch", "torchvision", "efficientnet-pytorch")},
        "arithmetic": (
            torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        ),
    }


def digest(facts: dict[str, Any]) -> str:
    """SHA-256 of what `facts` returned."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_unchanged(before: dict[str, Any], method: str, device: torch.device) -> None:
    """Refuse to write a fold of which something is no longer what it was when the training began.

    DVC notes the parameters, code and data that it finds after a stage has run: a fold that was trained with others
    would be called up to date (https://github.com/treeverse/dvc/issues/11058). `before` is what `facts` returned then.
    """
    try:
        now = facts(load(), method, device)
        changed = [name for name in before | now if before.get(name) != now.get(name)]
    except UserError as error:
        changed = [str(error)]
    if changed:
        raise UserError(
            f"this fold is not written, because something changed while it trained: {', '.join(changed)}. To finish "
            "it, undo the change and start again: what was learned is kept. To train with what is there now, start "
            "again as it is"
        )
